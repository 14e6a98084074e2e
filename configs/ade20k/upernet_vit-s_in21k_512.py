# Table 13, ViT-S pre-trained by cosub on ImageNet-21k (a row that Table 13 does not have).
# The weights of the 270 epochs that the paper's other results of these models have (Tables 9, 12);
# that they are those before fine-tuning on ImageNet-1k is ours.
_base_ = './upernet_vit-s_512.py'
model = dict(
    backbone=dict(
        # ours: DeiT III's rate on ImageNet-21k; the paper gives none for segmentation
        drop_path_rate=0.05,
        init_cfg=dict(checkpoint='work_dirs/vit-s_in21k-270e/epoch_270.pth'),
    )
)
