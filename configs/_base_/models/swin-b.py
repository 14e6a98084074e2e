# Swin-B of Table 2.
_base_ = './classifier.py'
model = dict(
    # Swin's own: linear weights of .02 without biases; mmpretrain leaves them as torch makes them.
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
    backbone=dict(type='SwinTransformer', arch='base', img_size=224),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=1024),
    drop_path_rate=0.2,
)
