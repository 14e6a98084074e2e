# Table 14, ViT-B of DeiT III on Flowers-102: supervised, from weights trained without cosub.
_base_ = ['./vit-b_flowers102.py']
model = dict(
    type='SupervisedClassifier',
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/baselines/vit-b_in1k/epoch_800.pth')),
)
