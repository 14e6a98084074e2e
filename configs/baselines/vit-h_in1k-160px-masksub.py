# MaskSub (Heo et al., CVPR 2025), ViT-H: 800 epochs at 160, drop rate .6.
_base_ = [
    '../_base_/models/vit-h.py',
    '../_base_/datasets/imagenet_3aug_rrc_160.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='MaskSubClassifier',
    backbone=dict(img_size=160),
    sub='mask',
    ratio=0.5,
    drop_path_rate=0.6,
)
train_dataloader = dict(batch_size=64)  # ours
