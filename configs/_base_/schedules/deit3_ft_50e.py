# Fine-tuning on ImageNet-1k after ImageNet-21k, 50 epochs (DeiT III).
_base_ = './deit3.py'
optim_wrapper = dict(optimizer=dict(lr=3e-4, weight_decay=0.02))
param_scheduler = dict(epochs=50)
train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=5)
val_cfg = dict()
test_cfg = dict()
