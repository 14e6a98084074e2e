# PiT-B of Table 2.
model = dict(
    type='CosubClassifier',
    backbone=dict(type='CosubTIMMBackbone', model_name='pit_b_224'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=1024,
        init_cfg=None,  # torch's own initialisation, as in PiT's code
    ),
    loss='bce',
    drop_path_rate=0.25,
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
# Prints the drop rate of every block at the start and logs the realised rate.
custom_hooks = [dict(type='EfficientDropPathHook')]
