# PiT-S of Table 11.
_base_ = './classifier.py'
model = dict(
    backbone=dict(type='CosubTIMMBackbone', model_name='pit_s_224'),
    head=dict(
        in_channels=576,
        init_cfg=None,  # torch's own initialisation, as in PiT's code
    ),
    # ours: ViT-S's rate; the paper gives none
    drop_path_rate=0.05,
)
