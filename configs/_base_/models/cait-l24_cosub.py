# CaiT-L24 of Table 2; its sizes are inferred from the name (ours), 329.6 M parameters.
model = dict(
    type='CosubClassifier',
    backbone=dict(
        type='CosubTIMMBackbone',
        model_name='cait_m36_384',
        img_size=224,
        embed_dim=1024,
        depth=24,
        num_heads=16,
        init_values=1e-5,  # LayerScale: CaiT's own at 24 layers; M36 has 1e-6
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
    loss='bce',
    drop_path_rate=0.45,
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
# Prints the drop rate of every block at the start and logs the realised rate.
custom_hooks = [dict(type='EfficientDropPathHook')]
