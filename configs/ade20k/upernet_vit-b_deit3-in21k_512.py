# Table 13, ViT-B with the weights of DeiT III pre-trained on ImageNet-21k.
# The published weights are those after fine-tuning on ImageNet-1k.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.1,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit3/deit3-base-p16_in21k-pre_3rdparty_in1k_20221009-87983ca1.pth',
        ),
    ),
)
