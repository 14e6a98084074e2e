# RegNetY-16GF of Table 2.
model = dict(
    type='CosubClassifier',
    backbone=dict(type='CosubTIMMBackbone', model_name='regnety_160'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=3024,
    ),
    loss='bce',
    # RSB: targets above .2 are positives, which undoes the smoothing of the others.
    label_smoothing=0.1,
    bce_target_threshold=0.2,
    drop_path_rate=0.3,
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
# Prints the drop rate of every block at the start and logs the realised rate.
custom_hooks = [dict(type='EfficientDropPathHook')]
