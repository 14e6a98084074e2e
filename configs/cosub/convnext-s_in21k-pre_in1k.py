# Table 12, ConvNeXt-S with layer decay:
# 50 epochs on ImageNet-1k at 224 after 90 epochs of ImageNet-21k.
# ours: DeiT III's schedule, which it gives for ViTs.
_base_ = [
    '../_base_/models/convnext-s.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.init_cfg.checkpoint = 'work_dirs/convnext-s_in21k/epoch_90.pth'
model.drop_path_rate = 0.2  # ConvNeXt's own for B (ours for S; the paper gives none)
# ours: ConvNeXt's value and 12 groups after supervised 21k training; the paper gives none
optim_wrapper = dict(constructor='CosubLayerDecay', paramwise_cfg=dict(layer_decay_rate=0.8))
train_dataloader = dict(batch_size=128)  # ours: by Table 7's memory
