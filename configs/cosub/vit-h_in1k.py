# Tables 1 and 6, ViT-H: 800 epochs on ImageNet-1k at 224, drop rate .6.
_base_ = [
    '../_base_/models/vit-h.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=64)  # Table 7's memory
