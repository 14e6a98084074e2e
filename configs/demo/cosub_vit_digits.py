# Cosub pre-training of a small ViT on 4,000 digits. No table of the paper: all values are ours.
_base_ = ['../_base_/datasets/demo_digits_28.py', '../_base_/default_runtime.py']

model = dict(
    type='CosubClassifier',
    backbone=dict(
        type='CosubViT',
        arch=dict(embed_dims=96, num_layers=6, num_heads=3, feedforward_channels=384),
        img_size=28,
        patch_size=7,
        drop_path_rate=0.1,
        # The 1e-4 of DeiT III is for deep networks and long training.
        layer_scale_init_value=1.0,
    ),
    head=dict(
        type='VisionTransformerClsHead',
        num_classes=10,
        in_channels=96,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05, betas=(0.9, 0.99), fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=3, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=6)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=50)
default_hooks = dict(checkpoint=dict(interval=6, max_keep_ckpts=2), logger=dict(interval=20))
custom_hooks = [dict(type='EfficientDropPathHook')]
