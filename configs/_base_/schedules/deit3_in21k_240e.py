# DeiT III on ImageNet-21k, at its own 240 epochs (the best baseline of Table 12).
_base_ = ['./deit3_in21k_90e.py']
param_scheduler = dict(epochs=240)
train_cfg = dict(max_epochs=240)
