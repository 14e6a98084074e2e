# DeiT III on ImageNet-1k, 400 epochs; nothing else is tuned anew (Table 6).
_base_ = ['./deit3_in1k_800e.py']
param_scheduler = dict(epochs=400)
train_cfg = dict(max_epochs=400)
