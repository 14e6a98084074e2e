# Table 14, ViT-S of DeiT III on CIFAR-100: supervised, from weights trained without cosub.
_base_ = ['./vit-s_cifar100.py']
model = dict(
    type='SupervisedClassifier',
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/baselines/vit-s_in1k/epoch_800.pth')),
)
