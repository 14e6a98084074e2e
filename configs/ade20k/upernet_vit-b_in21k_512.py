# Table 13, ViT-B pre-trained by cosub on ImageNet-21k.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-b_in21k/epoch_90.pth',
            prefix='backbone.',
        ),
    ),
)
