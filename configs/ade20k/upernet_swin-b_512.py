# Table 13, Swin-B from ImageNet-1k.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    backbone=dict(
        arch='base',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/convert/swin_base_patch4_window7_224-4670dd19.pth',
            prefix='backbone.',
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
