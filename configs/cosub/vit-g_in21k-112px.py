# Table 9, ViT-g: 90 epochs of pre-training on ImageNet-21k at 112.
_base_ = [
    '../_base_/models/vit-g.py',
    '../_base_/datasets/imagenet21k_3aug_src_112.py',
    '../_base_/schedules/deit3_in21k_90e.py',
    '../_base_/recipes/in21k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('in21k')
model.backbone.img_size = 112
model.drop_path_rate = 0.5  # ours: ViT-H's rate; neither DeiT III nor the paper gives one
train_dataloader = dict(batch_size=32)  # ours: by Table 7's memory
