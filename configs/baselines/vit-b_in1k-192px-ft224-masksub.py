# MaskSub (Heo et al., CVPR 2025), ViT-B: 20 epochs at 224 after 800 at 192, label alone (ours).
_base_ = [
    '../_base_/models/vit-b.py',
    '../_base_/datasets/imagenet_randaug.py',
    '../_base_/schedules/deit3_ft_20e.py',
    '../_base_/recipes/ft_224.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('ft_224')
model.update(type='SupervisedClassifier', drop_path_rate=0.2)
load_from = 'work_dirs/baselines/vit-b_in1k-192px-masksub/epoch_800.pth'
