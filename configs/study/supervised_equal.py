# As much compute as cosub: its step costs at most two supervised ones (docs/strategies.md).
_base_ = ['supervised.py']
train_cfg = dict(max_epochs=20, val_interval=20)
default_hooks = dict(checkpoint=dict(interval=20))
