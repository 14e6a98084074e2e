# Table 13, Swin-T from ImageNet-1k.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/convert/swin_tiny_patch4_window7_224-160bb0a5.pth',
            prefix='backbone.',
        ),
    ),
)
