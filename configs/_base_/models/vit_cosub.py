# ViT-B/16 of DeiT III, trained by cosub with BCE on multi-hot targets.
model = dict(
    type='CosubClassifier',
    backbone=dict(type='CosubViT', arch='b', img_size=224, patch_size=16),
    head=dict(
        type='VisionTransformerClsHead',
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
