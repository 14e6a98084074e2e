# Table 1, ViT-M: 800 epochs on ImageNet-1k at 224, drop rate .1.
_base_ = [
    '../_base_/models/vit-m.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
