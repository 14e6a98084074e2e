# Table 13, ViT-B: UperNet on ADE20k from a cosub backbone, 160k iterations at 512.
_base_ = [
    '../_base_/models/upernet_vit.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-b_in1k/epoch_800.pth',
            prefix='backbone.',
        )
    )
)
