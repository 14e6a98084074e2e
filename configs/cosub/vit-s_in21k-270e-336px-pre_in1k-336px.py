# Table 9, ViT-S with layer decay:
# 50 epochs on ImageNet-1k at 336 after 270 epochs of ImageNet-21k.
_base_ = [
    '../_base_/models/vit-s.py',
    '../_base_/datasets/imagenet_3aug_src_336.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.img_size = 336
model.backbone.init_cfg.checkpoint = 'work_dirs/vit-s_in21k-270e-336px/epoch_270.pth'
model.drop_path_rate = 0.05  # DeiT III's; the paper's own is not published
# ours: a step below BEiT's .85 of ViT-B; the paper gives none
optim_wrapper = dict(constructor='CosubLayerDecay', paramwise_cfg=dict(layer_decay_rate=0.8))
train_dataloader = dict(batch_size=128)  # ours: by Table 7's memory
