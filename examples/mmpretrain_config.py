# A whole config for mmpretrain's own tools/train.py, or ours: ResNet-18 on the digits of the demo,
# co-trained. `python tools/dataset_converters/make_demo_data.py` writes them.
# What cosub needs is custom_imports, and three lines of model.
custom_imports = dict(imports=['cosub_mm'], allow_failed_imports=False)
default_scope = 'mmpretrain'
model = dict(
    type='CosubClassifier',  # instead of ImageClassifier
    drop_path_rate=0.1,  # of every residual block
    loss='ce',
    backbone=dict(type='ResNet_CIFAR', depth=18, num_stages=4, out_indices=(3,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512),
    data_preprocessor=dict(num_classes=10, mean=[127.5] * 3, std=[127.5] * 3, to_rgb=True),
)
pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
data = dict(type='CustomDataset', data_root='data/demo/digits', pipeline=pipeline)
train_dataloader = dict(
    batch_size=50,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(data, data_prefix='train'),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data, data_prefix='val'),
)
val_evaluator = dict(type='Accuracy', topk=1)
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=1)
val_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = dict(type='CosineAnnealingLR', T_max=5)
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2))
