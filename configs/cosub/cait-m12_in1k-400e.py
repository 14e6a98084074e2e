# Table 6, CaiT-M12: 400 epochs on ImageNet-1k at 224.
# ours: the rate 3e-3, which DeiT III gives for its ViT-B, L and H.
_base_ = [
    '../_base_/models/cait-m12.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_400e.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(batch_size=128)  # ours: by Table 7's memory
