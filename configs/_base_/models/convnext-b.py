# ConvNeXt-B of Table 12.
_base_ = './classifier.py'
model = dict(
    backbone=dict(type='ConvNeXt', arch='base'),
    head=dict(in_channels=1024),
    # ConvNeXt's own 21k rate (ours for cosub; the paper gives none)
    drop_path_rate=0.1,
)
