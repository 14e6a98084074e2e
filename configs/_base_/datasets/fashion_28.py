# Fashion-MNIST at 28 pixels: 10,000 pictures to train on, the 10,000 test pictures (docs/study.md).
data_preprocessor = dict(num_classes=10, mean=[72.94] * 3, std=[90.02] * 3, to_rgb=False)
train_pipeline = [
    dict(type='SimpleRandomCrop', size=28, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]
data_root = 'data/fashion-mnist'
train_dataloader = dict(
    batch_size=100,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='FashionPictures', data_root=data_root, split='train', pipeline=train_pipeline
    ),
)
# Hyper-parameters are chosen on 2,000 other training pictures; the test pictures are used once.
val_dataloader = dict(
    batch_size=500,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='FashionPictures', data_root=data_root, split='tune', pipeline=test_pipeline),
)
val_evaluator = dict(type='AccuracyBySource', topk=1)
test_dataloader = dict(
    batch_size=500,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='FashionPictures', data_root=data_root, split='test', pipeline=test_pipeline),
)
test_evaluator = val_evaluator
