# XCiT-L12/16 of Table 2.
model = dict(
    type='CosubClassifier',
    backbone=dict(
        type='CosubXCiT',
        embed_dims=768,
        depth=12,
        num_heads=16,
        layer_scale_init_value=1.0,
        tokens_norm=True,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
    loss='bce',
    drop_path_rate=0.2,
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
# Prints the drop rate of every block at the start and logs the realised rate.
custom_hooks = [dict(type='EfficientDropPathHook')]
