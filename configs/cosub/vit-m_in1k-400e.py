# Table 1 at half length, ViT-M: 400 epochs on ImageNet-1k at 224.
_base_ = [
    '../_base_/models/vit-m.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_400e.py',
    '../_base_/default_runtime.py',
]
