# Tables 9 and 12, ViT-L: 270 epochs of pre-training on ImageNet-21k at 224.
_base_ = [
    '../_base_/models/vit-l.py',
    '../_base_/datasets/imagenet21k_3aug_src.py',
    '../_base_/schedules/deit3_in21k_270e.py',
    '../_base_/recipes/in21k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('in21k')
# DeiT III's rate for ViT-L; the paper tuned it anew and gives no value (ours: unchanged).
model.drop_path_rate = 0.3
train_dataloader = dict(batch_size=64)  # Table 7's memory
