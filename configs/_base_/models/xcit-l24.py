# XCiT-L24/16 of Table 12.
_base_ = './classifier.py'
model = dict(
    backbone=dict(
        type='CosubXCiT',
        embed_dims=768,
        depth=24,
        num_heads=16,
        layer_scale_init_value=1e-5,
        tokens_norm=True,
    ),
    head=dict(in_channels=768),
    # ours: between M24's rate and ViT-L's; the paper gives none
    drop_path_rate=0.3,
)
