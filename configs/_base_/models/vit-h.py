# ViT-H/14 of DeiT III, trained by cosub at the drop rate of Table 1.
_base_ = ['./vit-b.py']
model = dict(
    backbone=dict(arch='h', patch_size=14),
    head=dict(in_channels=1280),
    drop_path_rate=0.6,
)
