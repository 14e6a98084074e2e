# MaskSub (Heo et al., CVPR 2025), ViT-S: 800 epochs at 224, drop rate .05.
_base_ = [
    '../_base_/models/vit-s.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='MaskSubClassifier',
    sub='mask',
    ratio=0.5,
    drop_path_rate=0.05,
)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
