# Tables 9 and 12, ViT-M: 270 epochs of pre-training on ImageNet-21k at 224.
_base_ = [
    '../_base_/models/vit-m.py',
    '../_base_/datasets/imagenet21k_3aug_src.py',
    '../_base_/schedules/deit3_in21k_270e.py',
    '../_base_/recipes/in21k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('in21k')
# ours: ViT-M's rate on ImageNet-1k; neither DeiT III nor the paper gives one
model.drop_path_rate = 0.1
