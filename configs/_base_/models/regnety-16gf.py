# RegNetY-16GF of Table 2.
_base_ = './classifier.py'
model = dict(
    backbone=dict(type='CosubTIMMBackbone', model_name='regnety_160'),
    # mmpretrain's default initialisation of .01, as in timm's RegNet
    head=dict(_delete_=True, type='LinearClsHead', num_classes=1000, in_channels=3024),
    # RSB: targets above .2 are positives, which undoes the smoothing of the others.
    label_smoothing=0.1,
    bce_target_threshold=0.2,
    drop_path_rate=0.3,
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)],
        probs=[0.5, 0.5],
    ),
)
