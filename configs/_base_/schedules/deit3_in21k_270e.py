# DeiT III on ImageNet-21k, at the 270 epochs of cosub's long training (Table 10).
_base_ = ['./deit3_in21k_90e.py']
param_scheduler = dict(epochs=270)
train_cfg = dict(max_epochs=270)
