# Table 13, ViT-L with the weights of DeiT III pre-trained on ImageNet-21k.
# The published weights are those after fine-tuning on ImageNet-1k.
_base_ = './upernet_vit-l_512.py'
model = dict(
    backbone=dict(
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit3/deit3-large-p16_in21k-pre_3rdparty_in1k_20221009-d8d27084.pth',
        ),
    )
)
