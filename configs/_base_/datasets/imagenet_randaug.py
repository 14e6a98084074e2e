# ImageNet-1k at 224 with RandAugment m9, for DeiT III's 20-epoch fine-tuning.
_base_ = ['./imagenet_3aug_rrc.py']

train_pipeline = _base_.train_pipeline
train_pipeline[3] = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=9,
    magnitude_std=0.5,
    # the channel means in BGR order, which the loader gives
    hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
)
train_dataloader = dict(
    batch_size=64,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(pipeline=train_pipeline),
)
