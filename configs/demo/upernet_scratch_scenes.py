# UperNet on the small ResNet, from scratch: what upernet_scenes.py is compared with. Nothing is kept
# back: its backbone has the learning rate of cosub_digits.py and the statistics of the scenes.
_base_ = [
    '../_base_/models/resnet_demo.py',
    '../_base_/models/upernet_vit.py',
    '../_base_/datasets/demo_scenes_48.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=(48, 48)),
    backbone=dict(
        _delete_=True, type='mmpretrain.ResNet', out_indices=(0, 1, 2), **_base_.pop('resnet')
    ),
    neck=None,
    decode_head=dict(in_channels=[32, 64, 128], in_index=[0, 1, 2], channels=32, num_classes=14),
    auxiliary_head=dict(in_channels=64, in_index=1, channels=32, num_classes=14),
    drop_path_rate=0.1,
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-2, betas=(0.9, 0.99), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.2))),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=40),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=40, end=600, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=600, val_interval=300)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=300, max_keep_ckpts=2), logger=dict(interval=20))
