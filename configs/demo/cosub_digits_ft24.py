# Fine-tuning at 24 pixels with layer decay, after cosub_digits.py; cosub stays on (section 5.3).
_base_ = ['cosub_digits.py']

load_from = 'work_dirs/demo/cosub/epoch_15.pth'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='SimpleRandomCrop', size=24, padding=2),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=24, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    constructor='CosubLayerDecay',
    optimizer=dict(lr=2e-3),
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min_ratio=0.01, begin=1, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=6, val_interval=6)
default_hooks = dict(checkpoint=dict(interval=6))
