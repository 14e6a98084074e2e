# CaiT-M12 of Table 6: M36 with 12 layers, 100.8 M parameters.
_base_ = './classifier.py'
model = dict(
    backbone=dict(
        type='CosubTIMMBackbone',
        model_name='cait_m36_384',
        img_size=224,
        depth=12,
        init_values=0.1,  # LayerScale: CaiT's own up to 18 layers; M36 has 1e-6
    ),
    head=dict(in_channels=768),
    drop_path_rate=0.2,
)
