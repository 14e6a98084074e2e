# Beyond the paper: Segmenter's mask transformer on ViT-B, co-trained on the segmentation loss.
_base_ = [
    '../_base_/models/segmenter_vit.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    type='CosubSegmentor',
    lam=0.5,
    drop_path_rate=0.2,  # ours: the pre-training rate of ViT-B
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-b_in1k/epoch_800.pth',
            prefix='backbone.',
        )
    ),
)
# mmseg's schedule for Segmenter on ADE20k
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0)
)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=1e-4, begin=0, end=160000, by_epoch=False)
]
