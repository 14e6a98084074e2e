# Transfer of a ViT-B from ImageNet-1k to a smaller data set (Table 14).
# Other weights: --cfg-options model.backbone.init_cfg.checkpoint=PATH
# A variable, since no two bases may set `model`: `model = _base_.pop('transfer')` takes it over.
transfer = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-b_in1k/epoch_800.pth',
            prefix='backbone.',
        )
    ),
    head=dict(),
    # ours: the paper does not say which loss and rate; these are DeiT's in transfer
    loss='ce',
    label_smoothing=0.1,
    drop_path_rate=0.1,
)
