# Table 12, PiT-B: 90 epochs of pre-training on ImageNet-21k at 224.
# ours: DeiT III's schedule on 21k, which it gives for ViTs; the paper gives the epochs alone.
_base_ = [
    '../_base_/models/pit-b.py',
    '../_base_/datasets/imagenet21k_3aug_src.py',
    '../_base_/schedules/deit3_in21k_90e.py',
    '../_base_/recipes/in21k.py',
    '../_base_/default_runtime.py',
]
model = _base_.pop('in21k')
model.drop_path_rate = 0.1  # ours: ViT-B's rate on 21k; the paper gives none
train_dataloader = dict(batch_size=128)  # ours: by Table 7's memory
