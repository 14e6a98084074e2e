# UperNet on ViT-B/16 as in Table 13: 127.7 M parameters with 150 classes.
norm_cfg = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='SupervisedSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(
        type='mmpretrain.CosubViT',
        arch='b',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        # ours: the pre-training rate of ViT-B; the paper gives none for segmentation
        drop_path_rate=0.2,
        # Test images have sides that 16 does not divide; no pixel may be left out.
        patch_cfg=dict(padding='corner'),
    ),
    neck=dict(type='Feature2Pyramid', embed_dim=768, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg),
    decode_head=dict(
        type='UPerHead',
        in_channels=[768, 768, 768, 768],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=768,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    # --cfg-options model.test_cfg.mode=slide tests by windows of the training size.
    test_cfg=dict(mode='whole', crop_size=(512, 512), stride=(341, 341)),
)
# Prints the drop rate of every block at the start and logs the realised rate.
custom_hooks = [dict(type='EfficientDropPathHook')]
