# ConvNeXt-B of Table 12.
model = dict(
    type='CosubClassifier',
    backbone=dict(type='ConvNeXt', arch='base'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
    loss='bce',
    # ConvNeXt's own 21k rate (ours for cosub; the paper gives none)
    drop_path_rate=0.1,
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
# Prints the drop rate of every block at the start and logs the realised rate.
custom_hooks = [dict(type='EfficientDropPathHook')]
