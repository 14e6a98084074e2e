# Table 10, ViT-L without layer decay:
# 50 epochs on ImageNet-1k at 224 after 270 epochs of ImageNet-21k.
_base_ = [
    '../_base_/models/vit-l.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.backbone.init_cfg.checkpoint = 'work_dirs/vit-l_in21k-270e/epoch_270.pth'
model.drop_path_rate = 0.4  # DeiT III's; the paper's own is not published
train_dataloader = dict(batch_size=64)  # Table 7's memory
