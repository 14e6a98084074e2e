# DeiT III on ImageNet-1k, 800 epochs.
_base_ = './deit3.py'
optim_wrapper = dict(optimizer=dict(lr=3e-3, weight_decay=0.05))
param_scheduler = dict(epochs=800)
train_cfg = dict(by_epoch=True, max_epochs=800, val_interval=10)
val_cfg = dict()
test_cfg = dict()
