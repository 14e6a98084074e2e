# Table 6, ViT-B: 1200 epochs on ImageNet-1k at 224, supervised (DeiT III).
_base_ = [
    '../_base_/models/vit_cosub.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_800e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='SupervisedClassifier',
)
param_scheduler = dict(epochs=1200)
train_cfg = dict(max_epochs=1200)
