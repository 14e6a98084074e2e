# CaiT-M12 of Table 6: M36 with 12 layers, 100.8 M parameters.
model = dict(
    type='CosubClassifier',
    backbone=dict(
        type='CosubTIMMBackbone',
        model_name='cait_m36_384',
        img_size=224,
        depth=12,
        init_values=0.1,  # LayerScale: CaiT's own up to 18 layers; M36 has 1e-6
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
