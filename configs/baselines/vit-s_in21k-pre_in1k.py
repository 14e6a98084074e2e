# Table 10, ViT-S without layer decay, supervised (DeiT III):
# 50 epochs on ImageNet-1k at 224 after 90 epochs of ImageNet-21k.
_base_ = '../cosub/vit-s_in21k-pre_in1k-no-layer-decay.py'
model = dict(
    type='SupervisedClassifier',
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/baselines/vit-s_in21k/epoch_90.pth')),
)
