# ImageNet-21k at 224 with 3-Augment after a simple random crop (DeiT III).
# Layout: data/imagenet21k/CLASS/IMAGE or data/imagenet21k/CLASS.tar
data_preprocessor = dict(
    # fall 2011: 21,841 classes; winter 2021: 19,167. The paper does not say which (ours: fall).
    num_classes=21841,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='SimpleRandomCrop', size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='ThreeAugment', color_jitter=0.3),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=256,
    num_workers=10,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CosubImageNet21k', data_root='data/imagenet21k', pipeline=train_pipeline),
)
# The 21k classes have no validation split: the model is judged after fine-tuning.
