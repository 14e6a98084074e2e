# ViT-g/14 of Table 9: 955 M parameters.
_base_ = ['./vit-b.py']
model = dict(
    backbone=dict(arch='g', patch_size=14),
    head=dict(in_channels=1408),
    # ours: ViT-H's rate on 21k; the paper gives none
    drop_path_rate=0.5,
)
