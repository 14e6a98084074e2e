# Table 12, ViT-H without layer decay, supervised (DeiT III):
# 50 epochs on ImageNet-1k at 224 after 90 epochs of ImageNet-21k at 126.
_base_ = [
    '../_base_/models/vit-h.py',
    '../_base_/datasets/imagenet_3aug_src.py',
    '../_base_/schedules/deit3_ft_50e.py',
    '../_base_/recipes/ft_in1k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_in1k')
model.type = 'SupervisedClassifier'
model.backbone.init_cfg.checkpoint = 'work_dirs/baselines/vit-h_in21k-126px/epoch_90.pth'
model.drop_path_rate = 0.45  # DeiT III's
train_dataloader = dict(batch_size=64)  # Table 7's memory
