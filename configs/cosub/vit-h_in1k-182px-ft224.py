# Table 8, ViT-H: 20 epochs at 224 after 800 at 182.
_base_ = [
    '../_base_/models/vit-h.py',
    '../_base_/datasets/imagenet_randaug.py',
    '../_base_/schedules/deit3_ft_20e.py',
    '../_base_/recipes/ft_224.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_224')
model.drop_path_rate = 0.55
load_from = 'work_dirs/vit-h_in1k-182px/epoch_800.pth'
