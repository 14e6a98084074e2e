# Table 10, ViT-L with layer decay:
# 50 epochs on ImageNet-1k at 224 after 90 epochs of ImageNet-21k.
_base_ = [
    '../_base_/models/vit-l.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.init_cfg.checkpoint = 'work_dirs/vit-l_in21k/epoch_90.pth'
model.drop_path_rate = 0.4  # DeiT III's; the paper's own is not published
# ours: BEiT's value for ViT-L after supervised 21k training; the paper gives none
optim_wrapper = dict(constructor='CosubLayerDecay', paramwise_cfg=dict(layer_decay_rate=0.9))
train_dataloader = dict(batch_size=64)  # Table 7's memory
