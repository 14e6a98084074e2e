# Table 1, ViT-B: 800 epochs on ImageNet-1k at 224, drop rate .2.
_base_ = [
    '../_base_/models/vit-b.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
