# Table 14, ViT-S of DeiT III on CIFAR-10: supervised, from weights trained without cosub.
_base_ = ['./vit-s_cifar10.py']
model = dict(
    type='SupervisedClassifier',
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/baselines/vit-s_in1k/epoch_800.pth')),
)
