# Table 13, ViT-S with the weights of DeiT III pre-trained on ImageNet-21k (a row that Table 13 does not have).
# The published weights are those after fine-tuning on ImageNet-1k.
_base_ = './upernet_vit-s_512.py'
model = dict(
    backbone=dict(
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.05,
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/deit3/deit3-small-p16_in21k-pre_3rdparty_in1k_20221009-dcd90827.pth',
        ),
    )
)
