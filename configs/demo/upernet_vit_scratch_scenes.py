# UperNet on the small ViT, from scratch: what upernet_vit_scenes.py is compared with.
_base_ = [
    '../_base_/models/upernet_vit.py',
    '../_base_/datasets/demo_scenes_56.py',
    '../_base_/seg_runtime.py',
]
model = dict(
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, size=(56, 56)),
    backbone=dict(
        _delete_=True,
        type='mmpretrain.CosubViT',
        arch=dict(embed_dims=96, num_layers=6, num_heads=3, feedforward_channels=384),
        img_size=56,
        patch_size=7,
        out_type='featmap',
        out_indices=(1, 2, 4, 5),
        final_norm=False,
        drop_path_rate=0.1,
        layer_scale_init_value=1.0,
        patch_cfg=dict(padding='corner'),
    ),
    neck=dict(embed_dim=96),
    decode_head=dict(in_channels=[96] * 4, channels=48, num_classes=14),
    auxiliary_head=dict(in_channels=96, channels=48, num_classes=14),
)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=50, end=200, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=200, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=50, max_keep_ckpts=2), logger=dict(interval=10))
