# What the classifiers of Tables 1, 2, 6, 9 and 12 share: cosub, BCE, mixup or CutMix (DeiT III).
model = dict(
    type='CosubClassifier',
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02),
    ),
    loss='bce',
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
# Prints the drop rate of every block at the start and logs the realised rate.
custom_hooks = [dict(type='EfficientDropPathHook')]
