# ViT-B/16 of DeiT III, trained by cosub with BCE on multi-hot targets.
_base_ = './classifier.py'
model = dict(
    backbone=dict(type='CosubViT', arch='b', img_size=224, patch_size=16),
    head=dict(type='VisionTransformerClsHead', in_channels=768),
    drop_path_rate=0.2,
)
