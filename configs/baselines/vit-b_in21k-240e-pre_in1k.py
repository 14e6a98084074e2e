# Table 12, ViT-B without layer decay, supervised (DeiT III):
# 50 epochs on ImageNet-1k at 224 after 240 epochs of ImageNet-21k.
_base_ = ['./vit-b_in21k-pre_in1k.py']
model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/baselines/vit-b_in21k-240e/epoch_240.pth'))
)
