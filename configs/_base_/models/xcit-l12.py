# XCiT-L12/16 of Table 2.
_base_ = './classifier.py'
model = dict(
    backbone=dict(
        type='CosubXCiT',
        embed_dims=768,
        depth=12,
        num_heads=16,
        layer_scale_init_value=1.0,
        tokens_norm=True,
    ),
    head=dict(in_channels=768),
    drop_path_rate=0.2,
)
