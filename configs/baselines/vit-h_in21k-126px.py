# Table 12, ViT-H: 90 epochs on ImageNet-21k at 126, supervised (DeiT III).
# DeiT III trains H for 90 epochs at 128; ours: 126, which its patches of 14 pixels divide.
_base_ = [
    '../_base_/models/vit-h.py',
    '../_base_/datasets/imagenet21k_3aug_src_126.py',
    '../_base_/schedules/deit3_in21k_90e.py',
    '../_base_/recipes/in21k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('in21k')
model.type = 'SupervisedClassifier'
model.backbone.img_size = 126
model.drop_path_rate = 0.5  # the rate of DeiT III's command for ViT-H
train_dataloader = dict(batch_size=64)  # Table 7's memory
