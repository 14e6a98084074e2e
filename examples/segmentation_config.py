# A whole config for mmseg's own tools/train.py, or ours: FCN on the scenes of the demo with a cosub
# ViT whose dropped blocks are not computed. `python tools/dataset_converters/make_demo_data.py`
# writes the scenes. What cosub needs is custom_imports and the backbone.
custom_imports = dict(imports=['cosub_mm'], allow_failed_imports=False)
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',  # CosubSegmentor co-trains the segmentation itself
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[127.5] * 3,
        std=[127.5] * 3,
        bgr_to_rgb=True,
        size=(64, 64),
    ),
    backbone=dict(
        type='mmpretrain.CosubBackbone',  # around any backbone of mmpretrain, mmseg or timm
        drop_path_rate=0.1,
        backbone=dict(
            type='mmpretrain.CosubViT',
            arch=dict(embed_dims=96, num_layers=4, num_heads=3, feedforward_channels=384),
            img_size=64,
            patch_size=8,
            out_type='featmap',
            final_norm=False,
        ),
    ),
    decode_head=dict(type='FCNHead', in_channels=96, in_index=0, channels=48, num_classes=14),
    test_cfg=dict(mode='whole'),
)
classes = (*'0123456789', 'brick', 'grass', 'gravel', 'tissue')
palette = [[20 * i, 255 - 18 * i, (97 * i) % 256] for i in range(14)]
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
data = dict(
    type='BaseSegDataset',
    data_root='data/demo/scenes',
    reduce_zero_label=True,  # 0 in these masks is no class
    metainfo=dict(classes=classes, palette=palette),
    pipeline=load,
)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data, data_prefix=dict(img_path='images/training', seg_map_path='annotations/training')
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data, data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation')
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
train_cfg = dict(type='IterBasedTrainLoop', max_iters=200, val_interval=200)
val_cfg = dict(type='ValLoop')
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01))
param_scheduler = dict(type='PolyLR', power=1.0, end=200, by_epoch=False)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=200),
)
