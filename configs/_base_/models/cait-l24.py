# CaiT-L24 of Table 2; its sizes are inferred from the name (ours), 329.6 M parameters.
_base_ = './classifier.py'
model = dict(
    backbone=dict(
        type='CosubTIMMBackbone',
        model_name='cait_m36_384',
        img_size=224,
        embed_dim=1024,
        depth=24,
        num_heads=16,
        init_values=1e-5,  # LayerScale: CaiT's own at 24 layers; M36 has 1e-6
    ),
    head=dict(in_channels=1024),
    drop_path_rate=0.45,
)
