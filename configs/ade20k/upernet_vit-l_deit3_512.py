# Table 13, ViT-L with the weights of DeiT III, ImageNet-1k at 224.
_base_ = './upernet_vit-l_512.py'
model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit3/deit3-large-p16_3rdparty_in1k_20221009-03b427ea.pth',
        ),
    )
)
