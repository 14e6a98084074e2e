# Beyond the paper: DeepLabV3+ on ResNet-50, co-trained on the segmentation loss.
_base_ = [
    '../_base_/models/deeplabv3plus_r50.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/upernet_160k.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    type='CosubSegmentor',
    lam=0.5,
    drop_path_rate=0.1,  # Table 2's for ResNet-50
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/resnet50_in1k-600e/epoch_600.pth',
            prefix='backbone.',
        )
    ),
)
# mmseg's schedule for DeepLabV3+ on ADE20k
optim_wrapper = dict(
    _delete_=True, optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=1e-4, begin=0, end=160000, by_epoch=False)
]
