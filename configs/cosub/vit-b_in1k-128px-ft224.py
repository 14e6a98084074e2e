# Table 8, ViT-B: 20 epochs at 224 after 800 at 128.
# The paper does not say whether cosub is on in these epochs (ours: on).
# Give the weights by --cfg-options load_from=PATH
_base_ = [
    '../_base_/models/vit_cosub.py',
    '../_base_/datasets/imagenet_randaug.py',
    '../_base_/schedules/deit3_ft_20e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    loss='ce',
    label_smoothing=0.1,
)
load_from = 'work_dirs/vit-b_in1k-128px/epoch_800.pth'
