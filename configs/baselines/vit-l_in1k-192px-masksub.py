# MaskSub (Heo et al., CVPR 2025), ViT-L: 800 epochs at 192, drop rate .45.
_base_ = [
    '../_base_/models/vit-l.py',
    '../_base_/datasets/imagenet_3aug_rrc_192.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='MaskSubClassifier',
    backbone=dict(img_size=192),
    sub='mask',
    ratio=0.5,
    drop_path_rate=0.45,
)
train_dataloader = dict(batch_size=64)  # ours
