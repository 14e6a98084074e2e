# Table 1 at half length, ViT-L: 400 epochs on ImageNet-1k at 224, supervised (DeiT III).
_base_ = [
    '../_base_/models/vit-l_cosub.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_400e.py',
    '../_base_/default_runtime.py',
]
model = dict(
    type='SupervisedClassifier',
)
train_dataloader = dict(batch_size=64)  # Table 7's memory
