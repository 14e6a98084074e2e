# Table 14, ViT-L of DeiT III on iNaturalist-2019: supervised, from weights trained without cosub.
_base_ = ['./vit-l_inat19.py']
model = dict(
    type='SupervisedClassifier',
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/baselines/vit-l_in1k/epoch_800.pth')),
)
