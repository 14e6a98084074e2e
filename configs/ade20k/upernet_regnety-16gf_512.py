# UperNet on RegNetY-16GF of Table 2, which the paper does not segment with.
_base_ = [
    '../_base_/models/upernet_swin.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.CosubTIMMBackbone',
        model_name='regnety_160',
        out_type='featmap',
        out_indices=(1, 2, 3, 4),
        drop_path_rate=0.3,  # ours: the rate of Table 2
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/regnety-16gf_in1k-600e/epoch_600.pth',
            prefix='backbone.',
        ),
    ),
    decode_head=dict(in_channels=[224, 448, 1232, 3024]),
    auxiliary_head=dict(in_channels=1232),
)
