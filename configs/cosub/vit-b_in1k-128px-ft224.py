# Table 8, ViT-B: 20 epochs at 224 after 800 at 128.
_base_ = [
    '../_base_/models/vit-b.py',
    '../_base_/datasets/imagenet_randaug.py',
    '../_base_/schedules/deit3_ft_20e.py',
    '../_base_/recipes/ft_224.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_224')
load_from = 'work_dirs/vit-b_in1k-128px/epoch_800.pth'
