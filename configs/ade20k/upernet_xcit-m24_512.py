# UperNet on XCiT-M24/16 of Table 2, which the paper does not segment with.
_base_ = ['./upernet_vit-b_512.py']
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmpretrain.CosubXCiT',
        patch_size=16,
        embed_dims=512,
        depth=24,
        cls_attn_layers=0,
        num_heads=8,
        tokens_norm=True,
        layer_scale_init_value=1e-5,
        out_type='featmap',
        out_indices=(7, 11, 15, 23),
        final_norm=False,
        drop_path_rate=0.15,  # XCiT's own for M24 on ADE20k
        init_cfg=dict(
            type='Pretrained',
            checkpoint='work_dirs/xcit-m24_in21k/epoch_90.pth',
            prefix='backbone.',
        ),
    ),
    neck=dict(embed_dim=512),
    decode_head=dict(in_channels=[512, 512, 512, 512]),
    auxiliary_head=dict(in_channels=512),
)
# The class token stays in the state_dict, but only class attention, left out here, reads it.
find_unused_parameters = True
parameters_without_gradient = ['backbone.cls_token']
