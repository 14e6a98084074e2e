# ImageNet-1k at 160 pixels, else as imagenet_3aug_rrc.py.
_base_ = ['./imagenet_3aug_rrc.py']

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 160
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 160
test_pipeline[2].crop_size = 160
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
