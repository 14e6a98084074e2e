# Tables 9 and 12, ViT-M with layer decay:
# 50 epochs on ImageNet-1k at 224 after 270 epochs of ImageNet-21k.
# Give the weights by --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = [
    '../_base_/models/vit-m_cosub.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-m_in21k-270e/epoch_270.pth',
            prefix='backbone.',
        )
    ),
    loss='ce',  # ours: as in pre-training
    label_smoothing=0.1,
    # ours: between S and B of DeiT III
    drop_path_rate=0.1,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
optim_wrapper = dict(
    constructor='CosubLayerDecay',
    # ours: as ViT-B; the paper gives none
    paramwise_cfg=dict(layer_decay_rate=0.85),
)
