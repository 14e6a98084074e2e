# DeiT III on ImageNet-21k, at the 90 epochs of cosub. 21k has no images to validate with.
_base_ = './deit3.py'
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.02))
param_scheduler = dict(epochs=90)
train_cfg = dict(by_epoch=True, max_epochs=90)
