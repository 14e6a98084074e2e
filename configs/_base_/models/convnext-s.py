# ConvNeXt-S of Table 12.
_base_ = './classifier.py'
model = dict(
    backbone=dict(type='ConvNeXt', arch='small'),
    head=dict(in_channels=768),
    # ours: ConvNeXt's 21k rate for B and L; the paper gives none
    drop_path_rate=0.1,
)
