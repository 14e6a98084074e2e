# Table 10, ViT-B without layer decay:
# 50 epochs on ImageNet-1k at 224 after 90 epochs of ImageNet-21k.
# Give the weights by --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = [
    '../_base_/models/vit_cosub.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/vit-b_in21k/epoch_90.pth',
            prefix='backbone.',
        )
    ),
    loss='ce',  # ours: as in pre-training
    label_smoothing=0.1,
    # DeiT III's; the paper's own is not published
    drop_path_rate=0.15,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
