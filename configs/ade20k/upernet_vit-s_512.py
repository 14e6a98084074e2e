# Table 13, ViT-S: UperNet on ADE20k from a cosub backbone, 160k iterations at 512.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        arch='s',
        # ours: the pre-training rate; the paper gives none for segmentation
        drop_path_rate=0.05,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-s_in1k/epoch_800.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
