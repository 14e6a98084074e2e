# As much compute as cosub: its step costs at most two supervised ones (docs/strategies.md).
_base_ = ['supervised.py']
train_cfg = dict(max_epochs=40, val_interval=40)
default_hooks = dict(checkpoint=dict(interval=40))
