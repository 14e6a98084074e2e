# ImageNet-1k at 224 with RandAugment m7 and repeated augmentation: procedure A1 (Wightman et al.).
_base_ = ['./imagenet_3aug_rrc.py']

train_pipeline = _base_.train_pipeline
train_pipeline[3] = dict(
    type='RandAugment',
    policies='timm_increasing',
    num_policies=2,
    total_level=10,
    magnitude_level=7,
    magnitude_std=0.5,
    # the channel means in BGR order, which the loader gives
    hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic'),
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 235  # 224 / .95, rounded down as in timm
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
