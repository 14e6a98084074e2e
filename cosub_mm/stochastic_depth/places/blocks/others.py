"""Blocks of open_clip, DINOv2 and DINOv3."""

from dataclasses import replace

from cosub_mm.stochastic_depth.places.branch import Branch, Entry, Side, by_layout

__all__ = ['OTHERS']

# Cross attention (CoCa) is given another sequence, and a mask a sample and head.
_CROSS = (Side('attn', 'key', 3), Side('attn', 'value', 3), Side('attn', 'attn_mask', 3))
# DINOv2 drops by itself in forward, by sample_drop_ratio, and calls no DropPath above .1.
_DINO_V2 = (
    Branch('norm1', 'ls1', ('drop_path1',), after=True, own_rate='sample_drop_ratio'),
    Branch('norm2', 'ls2', ('drop_path2',), after=True, own_rate='sample_drop_ratio'),
)
_DINO_V3 = by_layout(
    (
        Branch(
            'norm1',
            'ls1',
            after=True,
            own_rate='sample_drop_ratio',
            sides=(Side('attn', 'rope', 4),),
        ),
        Branch('norm2', 'ls2', after=True, own_rate='sample_drop_ratio'),
    )
)
_DINO_TEXT = by_layout(
    (
        Branch('attention_norm', 'ls1', after=True),
        Branch('ffn_norm', 'ls2', after=True),
    )
)

OTHERS: dict[str, Entry] = {
    'open_clip.transformer.ResidualAttentionBlock': by_layout(
        (
            Branch('ln_1', 'ls_1', after=True, sides=_CROSS),
            Branch('ln_2', 'ls_2', after=True),
        )
    ),
    'open_clip.transformer.CustomResidualAttentionBlock': by_layout(
        (
            Branch('ln_1', 'ls_1', after=True, sides=_CROSS[2:]),
            Branch('ln_2', 'ls_2', after=True),
        )
    ),
    'open_clip.modified_resnet.Bottleneck': by_layout((Branch('conv1', 'bn3', after=True),)),
    'dinov2.layers.block.Block': by_layout(_DINO_V2),
    'dinov2.layers.block.NestedTensorBlock': by_layout(
        (replace(_DINO_V2[0], one_stream=True), _DINO_V2[1])
    ),
    'dinov2.layers.block.CausalAttentionBlock': _DINO_TEXT,
    'dinov3.layers.block.SelfAttentionBlock': _DINO_V3,
    'dinov3.layers.block.CausalSelfAttentionBlock': _DINO_TEXT,
}
"""Branches by dotted name of the class that defines ``forward``, in the order in which they run."""
