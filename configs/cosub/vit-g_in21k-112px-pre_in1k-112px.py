# Table 9, ViT-g with layer decay:
# 50 epochs on ImageNet-1k at 112 after 90 epochs of ImageNet-21k.
_base_ = [
    '../_base_/models/vit-g.py',
    '../_base_/datasets/imagenet_3aug_src_112.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.img_size = 112
model.backbone.init_cfg.checkpoint = 'work_dirs/vit-g_in21k-112px/epoch_90.pth'
model.drop_path_rate = 0.45  # ours: ViT-H's; the paper gives none
# ours: as ViT-L; the paper gives none
optim_wrapper = dict(constructor='CosubLayerDecay', paramwise_cfg=dict(layer_decay_rate=0.9))
train_dataloader = dict(batch_size=32)  # ours: by Table 7's memory
