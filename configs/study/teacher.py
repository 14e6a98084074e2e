# The teacher of kd.py and kd_cosub.py: twice as wide, supervised, on the same pictures.
_base_ = ['supervised.py']
model = dict(
    backbone=dict(
        arch=dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512),
    ),
    head=dict(in_channels=128),
)
