# PiT-B of Table 2.
_base_ = './classifier.py'
model = dict(
    backbone=dict(type='CosubTIMMBackbone', model_name='pit_b_224'),
    head=dict(
        in_channels=1024,
        init_cfg=None,  # torch's own initialisation, as in PiT's code
    ),
    drop_path_rate=0.25,
)
