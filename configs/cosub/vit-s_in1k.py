# Table 1, ViT-S: 800 epochs on ImageNet-1k at 224, drop rate .05.
_base_ = ['./vit-b_in1k.py']
model = dict(
    backbone=dict(arch='s'),
    head=dict(in_channels=384),
    drop_path_rate=0.05,
)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
