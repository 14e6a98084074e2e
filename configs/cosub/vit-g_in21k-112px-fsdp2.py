# vit-g_in21k-112px on one machine: FSDP2, and activations computed anew for backward.
# The same recipe and global batch; what a GPU holds, and for how many of them, is ours.
_base_ = ['./vit-g_in21k-112px.py', '../_base_/parallel/fsdp2.py']
activation_checkpointing = ['backbone.layers']
train_dataloader = dict(batch_size=256)  # ours: x 8 GPUs; by launch_plan.py's estimate, not run
