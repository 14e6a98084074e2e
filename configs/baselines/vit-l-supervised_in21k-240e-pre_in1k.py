# Table 12, ViT-L without layer decay, supervised (DeiT III):
# 50 epochs on ImageNet-1k at 224 after 240 epochs of ImageNet-21k.
# Give the weights by --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = ['./vit-l-supervised_in21k-pre_in1k.py']
model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit-l-supervised_in21k-240e/epoch_240.pth'))
)
