# Table 13, ViT-L with the weights of DeiT III, ImageNet-1k at 224.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        arch='l',
        out_indices=(7, 11, 15, 23),
        # ours: below the .45 of pre-training; the paper gives none for segmentation
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit3/deit3-large-p16_3rdparty_in1k_20221009-03b427ea.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
    auxiliary_head=dict(in_channels=1024),
)
