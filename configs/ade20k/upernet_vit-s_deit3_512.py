# Table 13, ViT-S with the weights of DeiT III, ImageNet-1k at 224.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        arch='s',
        # ours: the pre-training rate; the paper gives none for segmentation
        drop_path_rate=0.05,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit3/deit3-small-p16_3rdparty_in1k_20221008-0f7c70cf.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
