# UperNet on ConvNeXt-B of Table 2, which the paper does not segment with.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.ConvNeXt',
        arch='base',
        out_indices=(0, 1, 2, 3),
        gap_before_final_norm=False,
        drop_path_rate=0.4,  # mmseg's for ConvNeXt-B
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/convnext-b_in21k/epoch_90.pth',
            prefix='backbone.',
        ),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
