# ViT-M/16 of DeiT III, trained by cosub at the drop rate of Table 1.
_base_ = ['./vit-b.py']
model = dict(
    backbone=dict(arch='m'),
    head=dict(in_channels=512),
    drop_path_rate=0.1,
)
