# Table 9, ViT-H with layer decay:
# 50 epochs on ImageNet-1k at 112 after 270 epochs of ImageNet-21k.
# Give the weights by --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = [
    '../_base_/models/vit-h_cosub.py',
    '../_base_/datasets/imagenet_3aug_src_112.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        img_size=112,
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-h_in21k-270e-112px/epoch_270.pth',
            prefix='backbone.',
        ),
    ),
    loss='ce',  # ours: as in pre-training
    label_smoothing=0.1,
    # DeiT III's; the paper's own is not published
    drop_path_rate=0.45,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
optim_wrapper = dict(
    constructor='CosubLayerDecay',
    # ours: as ViT-L; the paper gives none
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
train_dataloader = dict(batch_size=64)  # Table 7's memory
