# Table 13, ViT-S pre-trained by cosub on ImageNet-21k (a row that Table 13 does not have).
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        arch='s',
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.05,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-s_in21k/epoch_90.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
