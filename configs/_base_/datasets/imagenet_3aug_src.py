# ImageNet-1k at 224 with 3-Augment after a simple random crop (DeiT III), each image once an epoch.
_base_ = './imagenet_3aug_rrc.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type='SimpleRandomCrop', size=224)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
