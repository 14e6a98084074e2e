# Table 9, ViT-B with layer decay:
# 50 epochs on ImageNet-1k at 112 after 270 epochs of ImageNet-21k.
_base_ = [
    '../_base_/models/vit-b.py',
    '../_base_/datasets/imagenet_3aug_src_112.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.img_size = 112
model.backbone.init_cfg.checkpoint = 'work_dirs/vit-b_in21k-270e-112px/epoch_270.pth'
model.drop_path_rate = 0.15  # DeiT III's; the paper's own is not published
# ours: BEiT's value for ViT-B after supervised 21k training; the paper gives none
optim_wrapper = dict(constructor='CosubLayerDecay', paramwise_cfg=dict(layer_decay_rate=0.85))
