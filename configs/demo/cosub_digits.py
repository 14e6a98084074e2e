# Cosub pre-training of a small ResNet on 4,000 digits. No table of the paper: all values are ours.
_base_ = [
    '../_base_/models/resnet_demo.py',
    '../_base_/datasets/demo_digits_20.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='CosubClassifier',
    backbone=dict(type='ResNet', out_indices=(2,), **_base_.pop('resnet')),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128),
    drop_path_rate=0.1,
    # BCE is for a thousand classes and mixed targets.
    loss='ce',
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, betas=(0.9, 0.99), fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=2, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=15, val_interval=5)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=50)
default_hooks = dict(checkpoint=dict(interval=5, max_keep_ckpts=2), logger=dict(interval=20))
custom_hooks = [dict(type='EfficientDropPathHook')]
