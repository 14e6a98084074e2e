# Swin-T at 640 from ImageNet-1k, to compare with the other Swin rows of Table 13.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://mmassets.onedl.ai/mmclassification/v0/swin-transformer/convert/swin_tiny_patch4_window7_224-160bb0a5.pth',
            prefix='backbone.',
        ),
    ),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
