# Table 13, ViT-S pre-trained by cosub on ImageNet-21k (a row that Table 13 does not have).
# The weights of the 270 epochs that the paper's other results of these models have (Tables 9, 12);
# that they are those before fine-tuning on ImageNet-1k is ours.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        arch='s',
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.05,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-s_in21k-270e/epoch_270.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384], channels=384),
    auxiliary_head=dict(in_channels=384),
)
