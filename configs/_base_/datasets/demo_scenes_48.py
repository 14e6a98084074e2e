# Scenes of digits over textures, 48 pixels, in ADE20k's layout; `make demo` writes them.
# Layout: data/demo/scenes/{images,annotations}/{training,validation}/IMAGE
metainfo = dict(
    classes=(*'0123456789', 'brick', 'grass', 'gravel', 'tissue'),
    palette=[
        *([230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48]),
        *([145, 30, 180], [70, 240, 240], [240, 50, 230], [210, 245, 60], [250, 190, 190]),
        *([128, 60, 40], [0, 90, 0], [128, 128, 128], [170, 150, 220]),
    ],
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(48, 48), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(48, 48)),
    # No flip: a mirrored digit is another sign. No photometric distortion: most pictures are grey.
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
# ours: three of ADE20k's six ratios
tta_ratios = (0.75, 1.0, 1.25)
tta_flip = False
data_root = 'data/demo/scenes'
# ADE20KDataset's file names and ignored label 0, with other classes.
dataset = dict(
    type='BaseSegDataset', data_root=data_root, metainfo=metainfo, reduce_zero_label=True
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **dataset,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_dataloader = val_dataloader
test_evaluator = val_evaluator
