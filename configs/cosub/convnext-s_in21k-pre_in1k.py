# Table 12, ConvNeXt-S with layer decay:
# 50 epochs on ImageNet-1k at 224 after 90 epochs of ImageNet-21k.
# ours: DeiT III's schedule, which it gives for ViTs.
# Give the weights by --cfg-options model.backbone.init_cfg.checkpoint=PATH
_base_ = [
    '../_base_/models/convnext-s_cosub.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/convnext-s_in21k/epoch_90.pth',
            prefix='backbone.',
        )
    ),
    loss='ce',  # ours: as in pre-training
    label_smoothing=0.1,
    # ConvNeXt's own for B (ours for S; the paper gives none)
    drop_path_rate=0.2,
    train_cfg=dict(_delete_=True, augments=dict(type='CutMix', alpha=1.0)),
)
optim_wrapper = dict(
    constructor='CosubLayerDecay',
    # ours: ConvNeXt's value and 12 groups after supervised 21k training; the paper gives none
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
train_dataloader = dict(batch_size=128)  # ours: by Table 7's memory
