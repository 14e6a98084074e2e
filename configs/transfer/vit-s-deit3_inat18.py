# Table 14, ViT-S of DeiT III on iNaturalist-2018: supervised, from weights trained without cosub.
_base_ = ['./vit-s_inat18.py']
model = dict(
    type='SupervisedClassifier',
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/baselines/vit-s_in1k/epoch_800.pth')),
)
