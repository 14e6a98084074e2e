# Table 8, ViT-H: 800 epochs on ImageNet-1k at 126.
_base_ = [
    '../_base_/models/vit-h.py',
    '../_base_/datasets/imagenet_3aug_rrc_126.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
model = dict(backbone=dict(img_size=126))
train_dataloader = dict(batch_size=64)  # Table 7's memory
