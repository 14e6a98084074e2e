# Table 8, ViT-H: 20 epochs at 224 after 800 at 126, supervised (DeiT III).
# Give the weights by --cfg-options load_from=PATH
_base_ = [
    '../_base_/models/vit-h_cosub.py',
    '../_base_/datasets/imagenet_randaug.py',
    '../_base_/schedules/deit3_ft_20e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='SupervisedClassifier',
    loss='ce',
    label_smoothing=0.1,
    drop_path_rate=0.55,
)
load_from = 'work_dirs/vit-h-supervised_in1k-126px/epoch_800.pth'
