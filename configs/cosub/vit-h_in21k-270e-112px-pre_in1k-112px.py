# Table 9, ViT-H with layer decay:
# 50 epochs on ImageNet-1k at 112 after 270 epochs of ImageNet-21k.
_base_ = [
    '../_base_/models/vit-h.py',
    '../_base_/datasets/imagenet_3aug_src_112.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.img_size = 112
model.backbone.init_cfg.checkpoint = 'work_dirs/vit-h_in21k-270e-112px/epoch_270.pth'
model.drop_path_rate = 0.45  # DeiT III's; the paper's own is not published
# ours: as ViT-L; the paper gives none
optim_wrapper = dict(constructor='CosubLayerDecay', paramwise_cfg=dict(layer_decay_rate=0.9))
train_dataloader = dict(batch_size=64)  # Table 7's memory
