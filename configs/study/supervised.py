# The study's baseline (docs/study.md): a ViT of 6 blocks on Fashion-MNIST. All values are ours.
_base_ = ['../_base_/datasets/fashion_28.py', '../_base_/default_runtime.py']
model = dict(
    type='SupervisedClassifier',
    backbone=dict(
        type='CosubViT',
        arch=dict(embed_dims=64, num_layers=6, num_heads=4, feedforward_channels=256),
        img_size=28,
        patch_size=7,
        layer_scale_init_value=1.0,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=10,
        in_channels=64,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
    drop_path_rate=0.05,
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05, betas=(0.9, 0.99), fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=100)
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1), logger=dict(interval=50))
custom_hooks = [dict(type='EfficientDropPathHook', interval=50)]
