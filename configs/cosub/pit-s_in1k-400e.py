# Table 11, PiT-S: 400 epochs on ImageNet-1k at 224.
# The paper does not give the epochs (ours: 400, as of PiT-B in Table 2).
# ours: the rate 3e-3, which DeiT III gives for its ViT-B, L and H.
_base_ = [
    '../_base_/models/pit-s.py',
    '../_base_/datasets/imagenet_3aug_rrc.py',
    '../_base_/schedules/deit3_in1k_400e.py',
    '../_base_/default_runtime.py',
]
