"""THE table: where each residual branch of a block starts and ends.

A branch *starts* at the first module that works on it and *ends* at the module in DropPath's place,
or behind its last module where the block has no DropPath there. Everything between sees the kept
rows only.
"""

from dataclasses import dataclass

from torch import nn

__all__ = [
    'BLOCKS',
    'REFUSED',
    'Branch',
    'Side',
    'branches_of',
    'class_name',
    'has_shortcut',
    'is_registered',
    'owner_of_forward',
    'refusal_of',
    'register_block',
]


@dataclass(frozen=True)
class Side:
    """What a branch is given beside the stream, sample by sample: a mask, positions, a condition.

    Args:
        module: path of a module of the branch that takes it, seen from the block.
        argument: name of the argument of that module's ``forward``.
        ndim: its dimensions where it holds one entry a sample, in the first of them. With fewer or
            more it is left as it is: all samples share it.
    """

    module: str
    argument: str
    ndim: int


@dataclass(frozen=True)
class Branch:
    """One residual branch of a block.

    Args:
        start: path of the first module of the branch, seen from the block, or of a method where
            no module sees the stream; its first argument is the stream. None where the branch
            cannot be run on fewer rows: it is masked.
        end: path of its DropPath, or of the Identity or None that stands there at a rate of 0.
            Branches may share it. With ``after``, path of its last module, which stays.
        inert: paths of DropPaths that stand elsewhere, or would drop the branch a second time. They
            are switched off, so that the rate of ``end`` is the rate of the branch.
        after: the branch ends behind the module ``end``, whose result is what is added.
        shortcut: attribute that is None in those blocks of the class that have no shortcut, where
            nothing is added and nothing can be dropped.
        undropped: why the branch keeps a rate of 0 where its block was built with 0, whatever
            ``drop_rate`` is: its authors never drop it. To drop it all the same, build the block
            with a rate, or register it without this.
        sides: what modules of the branch are given sample by sample beside the stream. The kept
            rows of it are handed on.
    """

    start: str | None
    end: str
    inert: tuple[str, ...] = ()
    after: bool = False
    shortcut: str | None = None
    undropped: str = ''
    sides: tuple[Side, ...] = ()


_CLASS = 'class attention: its authors drop it in no recipe'
_PRE_NORM = (Branch('norm1', 'drop_path1'), Branch('norm2', 'drop_path2'))
_POST_NORM = (Branch('attn', 'drop_path1'), Branch('mlp', 'drop_path2'))
_ONE_DROP_PATH = (Branch('norm1', 'drop_path'), Branch('norm2', 'drop_path'))
_CONV = (Branch('conv1', 'drop_path'),)
_CLASS_ATTENTION = (
    Branch('norm1', 'drop_path', undropped=_CLASS),
    Branch('norm2', 'drop_path', undropped=_CLASS),
)
_MM_VIT = (Branch('ln1', 'attn.out_drop'), Branch('ln2', 'ffn.dropout_layer'))
_MM_SWIN = (Branch('norm1', 'attn.drop'), Branch('norm2', 'ffn.dropout_layer'))
_MM_TWICE = (Branch('norm1', 'drop_path'), Branch('norm2', 'drop_path', ('ffn.dropout_layer',)))
_MM_THRICE = (Branch('norm1', 'drop_path', ('attn.out_drop',)), _MM_TWICE[1])
_MMSEG_VIT = (Branch('ln1', 'attn.dropout_layer'), Branch('ln2', 'ffn.dropout_layer'))
_MM_NEVER = (Branch('conv1', 'norm3', ('drop_path',), after=True),)

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
        Branch('norm1', 'drop_path1', undropped=_CLASS),
        Branch(None, 'drop_path2', undropped=_CLASS),
    ),
    'swin_transformer.SwinTransformerBlock': _PRE_NORM,
    'convnext.ConvNeXtBlock': (Branch('conv_dw', 'drop_path'),),
    'resnet.BasicBlock': _CONV,
    'resnet.Bottleneck': _CONV,
    'regnet.Bottleneck': (Branch('conv1', 'drop_path', shortcut='downsample'),),
}

_TIMM_OTHERS = {
    'volo.ClassBlock': (
        Branch('norm1', 'drop_path1', undropped=_CLASS),
        Branch('norm2', 'drop_path2', undropped=_CLASS),
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
        Branch('norm1', 'drop_path', undropped=_CLASS),
        Branch(None, 'drop_path', undropped=_CLASS),
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

_TORCH_LAYERS = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)

REFUSED: dict[str, str] = {
    'mmpretrain.models.backbones.revvit.RevTransformerEncoderLayer': (
        'it computes its branches anew in a backward pass of its own, where a forward pass would '
        'draw other rows'
    ),
    'mmpretrain.models.backbones.sparse_resnet.SparseResNet': (
        'its sparse convolutions multiply by a map of all rows that is kept outside the model'
    ),
}
"""Blocks and models by dotted name that no registration can help, and why."""

BLOCKS: dict[str, tuple[Branch, ...]] = {
    **{f'timm.models.{name}': branches for name, branches in {**_TIMM, **_TIMM_OTHERS}.items()},
    **{f'mmpretrain.models.backbones.{name}': branches for name, branches in _MMPRETRAIN.items()},
    'mmseg.models.backbones.swin.SwinBlock': _MM_SWIN,
    # Drops its MLP only; the attention takes no rate.
    'mmseg.models.backbones.vit.TransformerEncoderLayer': _MMSEG_VIT,
    'mmseg.models.backbones.twins.GSAEncoderLayer': (
        Branch('norm1', 'drop_path', ('attn.dropout_layer',)),
        _MM_TWICE[1],
    ),
    'mmseg.models.backbones.twins.LSAEncoderLayer': _MM_TWICE,
}
"""Branches by dotted name of the class that defines ``forward``, in the order in which they run."""


_BUILT_IN = dict(BLOCKS)


def register_block(block: type[nn.Module] | str, *branches: Branch) -> None:
    """Tell where the branches of a block class are.

    Args:
        block: the class that defines ``forward``, or its dotted name.
        branches: its residual branches, in the order in which they run.

    Raises:
        ValueError: no branch given; a class without a ``forward`` of its own; branches with one end
            of which some are undropped and some are not.
    """
    if not branches:
        raise ValueError(f'{block}: give at least one Branch(start, end).')
    if not isinstance(block, str) and 'forward' not in vars(block):
        raise ValueError(
            f'{class_name(block)} inherits its forward; register the class that defines it, '
            f'{class_name(owner_of_forward(block))}.'
        )
    undropped = {branch.end for branch in branches if branch.undropped}
    dropped = {branch.end for branch in branches if not branch.undropped}
    if undropped & dropped:
        raise ValueError(
            f'{block}: branches that share an end have one rate, and of those that end at '
            f'{sorted(undropped & dropped)} some are undropped and some are not.'
        )
    BLOCKS[block if isinstance(block, str) else class_name(block)] = branches


def branches_of(module: nn.Module) -> tuple[Branch, ...] | None:
    """Branches of a block, or None if the table does not name it.

    A subclass that inherits ``forward`` is the same block; one that overrides it may be any.
    """
    return BLOCKS.get(class_name(owner_of_forward(type(module))))


def is_registered(block: nn.Module) -> bool:
    """Whether the branches of ``block`` are somebody's registration, which nobody has proven."""
    name = class_name(owner_of_forward(type(block)))
    return name in BLOCKS and BLOCKS[name] is not _BUILT_IN.get(name)


def has_shortcut(block: nn.Module, branch: Branch) -> bool:
    """Whether ``block`` adds the result of ``branch`` to anything."""
    return branch.shortcut is None or getattr(block, branch.shortcut, None) is not None


def refusal_of(module: nn.Module) -> str | None:
    """Why a block or a model is refused, or None."""
    names = map(class_name, type(module).__mro__)
    reason = next((REFUSED[name] for name in names if name in REFUSED), None)
    sequence_first = isinstance(module, _TORCH_LAYERS) and not module.self_attn.batch_first
    if reason is None and sequence_first and branches_of(module) is not None:
        return 'its stream has the samples in its second dimension; build it with batch_first=True'
    return reason


def class_name(cls: type) -> str:
    """Dotted name of a class, the key of the table."""
    return f'{cls.__module__}.{cls.__qualname__}'


def owner_of_forward(cls: type) -> type:
    """The class from which ``cls`` has its ``forward``."""
    return next(base for base in cls.__mro__ if 'forward' in vars(base))
