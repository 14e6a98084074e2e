# Table 13, Swin-B at 640 from ImageNet-21k (weights after fine-tuning on ImageNet-1k).
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        arch='base',
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/convert/swin_base_patch4_window7_224_22kto1k-f967f799.pth',
            prefix='backbone.',
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
