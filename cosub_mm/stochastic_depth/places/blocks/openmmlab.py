"""Blocks of mmpretrain, mmseg and mmdet."""

from torch import nn

from cosub_mm.stochastic_depth.places.branch import Branch, Entry

from .timm import CLASS_ATTENTION

__all__ = ['OPENMMLAB']

_CONV = (Branch('conv1', 'drop_path'),)
_MM_VIT = (Branch('ln1', 'attn.out_drop'), Branch('ln2', 'ffn.dropout_layer'))
_MM_SWIN = (Branch('norm1', 'attn.drop'), Branch('norm2', 'ffn.dropout_layer'))
_MM_TWICE = (Branch('norm1', 'drop_path'), Branch('norm2', 'drop_path', ('ffn.dropout_layer',)))
_MM_THRICE = (Branch('norm1', 'drop_path', ('attn.out_drop',)), _MM_TWICE[1])
_MMSEG_VIT = (Branch('ln1', 'attn.dropout_layer'), Branch('ln2', 'ffn.dropout_layer'))
_MM_NEVER = (Branch('conv1', 'norm3', ('drop_path',), after=True),)

_MMPRETRAIN = {
    'vision_transformer.TransformerEncoderLayer': _MM_VIT,
    # Stock DeiT3 calls ln1 in both branches and ln2 in none, so both start behind it.
    'deit3.DeiT3TransformerEncoderLayer': (
        Branch('attn', 'attn.out_drop'),
        Branch('ffn.layers', 'ffn.dropout_layer'),
    ),
    'xcit.XCABlock': (
        Branch('norm1', 'drop_path'),
        Branch('norm3', 'drop_path'),
        Branch('norm2', 'drop_path'),
    ),
    'xcit.ClassAttentionBlock': (
        Branch('norm1', 'drop_path', undropped=CLASS_ATTENTION),
        Branch(None, 'drop_path', undropped=CLASS_ATTENTION),
    ),
    'swin_transformer.SwinBlock': _MM_SWIN,
    'convnext.ConvNeXtBlock': (Branch('depthwise_conv', 'drop_path'),),
    # Reads its batch size before the first branch starts.
    'tinyvit.TinyViTBlock': (Branch(None, 'drop_path'), Branch('mlp', 'drop_path')),
    # The modules of these blocks end in a DropPath, and the blocks drop their results once more.
    'beit.BEiTTransformerEncoderLayer': (
        Branch('ln1', 'drop_path'),
        Branch('ln2', 'drop_path', ('ffn.dropout_layer',)),
    ),
    'twins.GSAEncoderLayer': _MM_THRICE,
    'twins.LSAEncoderLayer': _MM_TWICE,
    'resnet.BasicBlock': _CONV,
    'resnet.Bottleneck': _CONV,
    # These take a drop path rate and never call their DropPath.
    'res2net.Bottle2neck': _MM_NEVER,
    'resnest.Bottleneck': _MM_NEVER,
    'seresnet.SEBottleneck': (Branch('conv1', 'se_layer', ('drop_path',), after=True),),
    # Drops in front of the norm, which gives dropped rows its bias and undoes the scaling.
    'swin_transformer_v2.SwinBlockV2': (
        Branch('attn', 'norm1', ('attn.drop',), after=True),
        Branch('ffn', 'norm2', ('ffn.dropout_layer',), after=True),
    ),
    # Reads its batch size before the first branch starts.
    'mixmim.MixMIMBlock': (Branch(None, 'drop_path'), Branch('ln2', 'ffn.dropout_layer')),
    # Multiplies the branch by a map of all rows that is kept outside the model.
    'sparse_convnext.SparseConvNeXtBlock': (Branch(None, 'drop_path'),),
}


def _bottleneck(block: nn.Module) -> tuple[Branch, ...]:
    """Without a DropPath; its branch ends with the last plug-in behind the last norm, if any."""
    plugins = getattr(block, 'after_conv3_plugin_names', None) or ['norm3']
    return (Branch('conv1', plugins[-1], after=True),)


_BASIC = (Branch('conv1', 'norm2', after=True),)
_DARKNET = (Branch('conv1', 'conv2', after=True),)
_CSP = (Branch('conv1', 'conv2', after=True, shortcut='add_identity'),)
_INVERTED = (Branch('conv', 'conv', after=True, shortcut='use_res_connect'),)
_MMSEG = {
    'backbones.swin.SwinBlock': _MM_SWIN,
    # Drops its MLP only; the attention takes no rate.
    'backbones.vit.TransformerEncoderLayer': _MMSEG_VIT,
    'backbones.twins.GSAEncoderLayer': (
        Branch('norm1', 'drop_path', ('attn.dropout_layer',)),
        _MM_TWICE[1],
    ),
    'backbones.twins.LSAEncoderLayer': _MM_TWICE,
    'backbones.resnet.BasicBlock': _BASIC,
    'backbones.resnet.Bottleneck': _bottleneck,  # also ResNeXt's
    'backbones.resnest.Bottleneck': _bottleneck,
    'utils.inverted_residual.InvertedResidual': _INVERTED,
}
_MMDET = {
    'backbones.resnet.BasicBlock': _BASIC,
    'backbones.resnet.Bottleneck': _bottleneck,  # also ResNeXt's and RegNet's
    'backbones.res2net.Bottle2neck': _bottleneck,
    'backbones.resnest.Bottleneck': _bottleneck,
    'backbones.darknet.ResBlock': _DARKNET,
    'layers.csp_layer.DarknetBottleneck': _CSP,
    'layers.csp_layer.CSPNeXtBlock': _CSP,
}

OPENMMLAB: dict[str, Entry] = {
    **{f'mmpretrain.models.backbones.{name}': branches for name, branches in _MMPRETRAIN.items()},
    **{f'mmseg.models.{name}': branches for name, branches in _MMSEG.items()},
    **{f'mmdet.models.{name}': branches for name, branches in _MMDET.items()},
}
"""Branches by dotted name of the class that defines ``forward``, in the order in which they run."""
