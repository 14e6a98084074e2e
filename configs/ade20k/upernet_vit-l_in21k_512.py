# Table 13, ViT-L pre-trained by cosub on ImageNet-21k.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        arch='l',
        out_indices=(7, 11, 15, 23),
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.3,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-l_in21k/epoch_90.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
    auxiliary_head=dict(in_channels=1024),
)
