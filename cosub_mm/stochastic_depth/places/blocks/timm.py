"""Blocks of timm, as module and class below ``timm.models``."""

from cosub_mm.stochastic_depth.places.branch import Branch, Entry

__all__ = ['TIMM']

CLASS_ATTENTION = 'class attention: its authors drop it in no recipe'
_PRE_NORM = (Branch('norm1', 'drop_path1'), Branch('norm2', 'drop_path2'))
_POST_NORM = (Branch('attn', 'drop_path1'), Branch('mlp', 'drop_path2'))
_ONE_DROP_PATH = (Branch('norm1', 'drop_path'), Branch('norm2', 'drop_path'))
_CONV = (Branch('conv1', 'drop_path'),)
_CLASS_ATTENTION = (
    Branch('norm1', 'drop_path', undropped=CLASS_ATTENTION),
    Branch('norm2', 'drop_path', undropped=CLASS_ATTENTION),
)

_TIMM = {
    'vision_transformer.Block': _PRE_NORM,  # also PiT's
    'vision_transformer.ResPostBlock': _POST_NORM,
    'cait.LayerScaleBlock': _ONE_DROP_PATH,
    'cait.LayerScaleBlockClassAttn': _CLASS_ATTENTION,
    'xcit.XCABlock': (
        Branch('norm1', 'drop_path1'),
        Branch('norm3', 'drop_path3'),
        Branch('norm2', 'drop_path2'),
    ),
    # The second branch is the MLP of the class token beside the patches as they are.
    'xcit.ClassAttentionBlock': (
        Branch('norm1', 'drop_path1', undropped=CLASS_ATTENTION),
        Branch(None, 'drop_path2', undropped=CLASS_ATTENTION),
    ),
    'swin_transformer.SwinTransformerBlock': _PRE_NORM,
    'convnext.ConvNeXtBlock': (Branch('conv_dw', 'drop_path'),),
    'resnet.BasicBlock': _CONV,
    'resnet.Bottleneck': _CONV,
    'regnet.Bottleneck': (Branch('conv1', 'drop_path', shortcut='downsample'),),
}

_TIMM_OTHERS = {
    'volo.ClassBlock': (
        Branch('norm1', 'drop_path1', undropped=CLASS_ATTENTION),
        Branch('norm2', 'drop_path2', undropped=CLASS_ATTENTION),
    ),
    'swin_transformer_v2.SwinTransformerV2Block': (
        Branch('_attn', 'drop_path1'),
        Branch('mlp', 'drop_path2'),
    ),
    'swin_transformer_v2_cr.SwinTransformerV2CrBlock': (
        Branch('_shifted_window_attn', 'drop_path1'),
        Branch('mlp', 'drop_path2'),
    ),
    # These read their batch size before the branch starts.
    'csatv2.TransformerBlock': (Branch(None, 'drop_path1'), Branch(None, 'drop_path2')),
    'davit.SpatialBlock': (Branch(None, 'drop_path1'), Branch('norm2', 'drop_path2')),
    'tiny_vit.TinyVitBlock': (Branch(None, 'drop_path1'), Branch('mlp', 'drop_path2')),
    # Two convolutions begin the branch side by side.
    'byobnet.RepVggBlock': (Branch(None, 'drop_path', shortcut='identity'),),
    'byobnet.MobileOneBlock': (Branch(None, 'drop_path', shortcut='identity'),),
    # These mix the branch with the stream, with other streams, or with all features before.
    'coat.ParallelBlock': (Branch(None, 'drop_path'),),
    'efficientvim.EfficientViMBlock': (Branch(None, 'drop_path'),),
    'rdnet.DenseBlock': (Branch(None, 'drop_path'),),
    # Drops the shortcut in place of the branch.
    'resnest.ResNestBottleneck': (Branch('conv1', 'bn3', ('drop_path',), after=True),),
}

TIMM: dict[str, Entry] = {
    f'timm.models.{name}': branches for name, branches in {**_TIMM, **_TIMM_OTHERS}.items()
}
"""Branches by dotted name of the class that defines ``forward``, in the order in which they run."""
