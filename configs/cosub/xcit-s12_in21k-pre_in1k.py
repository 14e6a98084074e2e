# Table 12, XCiT-S12 with layer decay:
# 50 epochs on ImageNet-1k at 224 after 90 epochs of ImageNet-21k.
# ours: DeiT III's schedule, which it gives for ViTs.
_base_ = [
    '../_base_/models/xcit-s12.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.init_cfg.checkpoint = 'work_dirs/xcit-s12_in21k/epoch_90.pth'
# ours: the stem learns at .051 of the rate, ConvNeXt's own reach (.055); the paper gives none
optim_wrapper = dict(constructor='CosubLayerDecay', paramwise_cfg=dict(layer_decay_rate=0.82))
