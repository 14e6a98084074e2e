# ImageNet-21k at 126 pixels, else as imagenet21k_3aug_src.py.
_base_ = ['./imagenet21k_3aug_src.py']

train_pipeline = _base_.train_pipeline
train_pipeline[1].size = 126
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
