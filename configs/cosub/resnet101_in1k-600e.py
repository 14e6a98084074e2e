# Table 2, ResNet-101: ImageNet-1k at 224.
# The paper cites Wightman et al. without naming a procedure (ours: A1, 600 epochs).
_base_ = [
    '../_base_/models/resnet101.py',
    '../_base_/datasets/imagenet_rsb_a1.py',
    '../_base_/schedules/rsb_a1_600e.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=128)  # ours: by Table 7's memory
