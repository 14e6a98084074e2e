# vit-s_in21k-270e-pre_in1k.py with BCE, after pre-training with BCE.
_base_ = ['./vit-s_in21k-270e-pre_in1k.py']
model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit-s_in21k-270e-bce/epoch_270.pth')),
    # No smoothing: above the threshold of 0 it would make every class a positive.
    loss='bce',
    label_smoothing=0.0,
)
