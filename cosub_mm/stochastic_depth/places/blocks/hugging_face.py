"""Blocks of Hugging Face transformers whose DropPaths, if any, leave branches out.

Two layouts: that of transformers 4, and that of 5, whose ViTs share one dropout.
"""

from cosub_mm.stochastic_depth.places.branch import Branch, Entry, Side, by_layout

__all__ = ['HUGGING_FACE']

_MASKS = tuple(
    Side('self_attn', name, ndim)
    for name in ('attention_mask', 'causal_attention_mask')
    for ndim in (4, 2)
)
_VIT = by_layout(
    (
        Branch('layernorm_before', 'attention.output.dropout', after=True),
        Branch('layernorm_after', 'output.dropout', after=True),
    ),
    (
        Branch('layernorm_before', 'dropout', after=True),
        Branch('layernorm_after', 'dropout', after=True),
    ),
)
_CLIP = by_layout(
    (
        Branch('layer_norm1', 'self_attn.out_proj', after=True, sides=_MASKS),
        Branch('layer_norm2', 'mlp', after=True),
    )
)
# The attention sees windows, and the block reads its batch size in front of them.
_WINDOWS = Branch('attention', 'drop_path', back='attention')
_SWIN = by_layout(
    (_WINDOWS, Branch('layernorm_after', 'output', after=True)),
    (_WINDOWS, Branch('layernorm_after', 'mlp', after=True)),
)
_SWIN_V2 = by_layout((_WINDOWS, Branch('intermediate', 'drop_path')))
_RESNET = by_layout((Branch('layer', 'layer', after=True),))
_LEVIT = by_layout((Branch('module', 'module', after=True, own_rate='drop_rate'),))

_BY_MODULE: dict[str, Entry] = {
    'vit.modeling_vit.ViTLayer': _VIT,
    'deit.modeling_deit.DeiTLayer': _VIT,
    'vit_mae.modeling_vit_mae.ViTMAELayer': _VIT,
    'vit_msn.modeling_vit_msn.ViTMSNLayer': _VIT,
    'ijepa.modeling_ijepa.IJepaLayer': _VIT,
    'clip.modeling_clip.CLIPEncoderLayer': _CLIP,
    'siglip.modeling_siglip.SiglipEncoderLayer': _CLIP,
    'siglip2.modeling_siglip2.Siglip2EncoderLayer': _CLIP,
    'resnet.modeling_resnet.ResNetBasicLayer': _RESNET,
    'resnet.modeling_resnet.ResNetBottleNeckLayer': _RESNET,
    'swin.modeling_swin.SwinLayer': _SWIN,
    'swinv2.modeling_swinv2.Swinv2Layer': _SWIN_V2,
    'swin2sr.modeling_swin2sr.Swin2SRLayer': _SWIN_V2,
    'levit.modeling_levit.LevitResidualLayer': _LEVIT,
}

HUGGING_FACE: dict[str, Entry] = {
    f'transformers.models.{name}': branches for name, branches in _BY_MODULE.items()
}
"""Branches by dotted name of the class that defines ``forward``, in the order in which they run."""
