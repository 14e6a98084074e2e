# ResNet-50 of Table 2.
_base_ = './classifier.py'
model = dict(
    backbone=dict(type='ResNet', depth=50),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        in_channels=2048,
        init_cfg=None,  # torch's own initialisation, as in timm's runs of RSB
    ),
    # RSB: targets above .2 are positives, which undoes the smoothing of the others.
    label_smoothing=0.1,
    bce_target_threshold=0.2,
    drop_path_rate=0.1,
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
