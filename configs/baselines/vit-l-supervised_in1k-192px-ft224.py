# Table 8, ViT-L: 20 epochs at 224 after 800 at 192, supervised (DeiT III).
# Give the weights by --cfg-options load_from=PATH
_base_ = [
    '../_base_/models/vit-l_cosub.py',
    '../_base_/datasets/imagenet_randaug.py',
    '../_base_/schedules/deit3_ft_20e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='SupervisedClassifier',
    loss='ce',
    label_smoothing=0.1,
)
load_from = 'work_dirs/vit-l-supervised_in1k-192px/epoch_800.pth'
