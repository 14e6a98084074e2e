"""THE table: where each residual branch of a block starts and ends.

A branch *starts* at the first module that works on it and *ends* at the module in DropPath's place,
or behind its last module where the block has no DropPath there. Everything between sees the kept
rows only.
"""

from inspect import unwrap
from types import MethodType

from torch import nn

from .blocks.hugging_face import HUGGING_FACE
from .blocks.openmmlab import OPENMMLAB
from .blocks.others import OTHERS
from .blocks.timm import TIMM
from .blocks.torch_layers import TORCH
from .branch import Branch, Entry, Side

__all__ = [
    'BLOCKS',
    'REFUSED',
    'Branch',
    'Side',
    'branches_of',
    'class_name',
    'has_other_forward',
    'has_shortcut',
    'is_registered',
    'is_sequence_first',
    'owner_of_forward',
    'refusal_of',
    'register_block',
]


_SEQUENCE_FIRST = {
    'torch.nn.modules.transformer.TransformerEncoderLayer': 'self_attn',
    'torch.nn.modules.transformer.TransformerDecoderLayer': 'self_attn',
    'open_clip.transformer.ResidualAttentionBlock': 'attn',
}
"""Blocks that may have the samples in their second dimension, and the attention that knows."""

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

BLOCKS: dict[str, Entry] = {**TIMM, **OPENMMLAB, **TORCH, **HUGGING_FACE, **OTHERS}
"""Branches by dotted name of the class that defines ``forward``, in the order in which they run, or
what tells them of a block."""


_BUILT_IN = dict(BLOCKS)


def register_block(block: type[nn.Module] | str, *branches: Branch) -> None:
    """Tell where the branches of a block class are.

    Args:
        block: the class that defines ``forward``, or its dotted name.
        branches: its residual branches, in the order in which they run.

    Raises:
        TypeError: something else than branches, or than a class.
        ValueError: no branch given; a class without a ``forward`` of its own; branches with one end
            of which some are undropped and some are not.
    """
    if not branches:
        raise ValueError(f'{block}: give at least one Branch(start, end).')
    other = next((b for b in branches if not isinstance(b, Branch)), None)
    if other is not None:
        raise TypeError(
            f'{block}: {other!r} is a {type(other).__name__}, no Branch; write '
            f"Branch('norm1', 'drop_path1'): the first module of the branch, and its DropPath."
        )
    if not isinstance(block, str | type):
        raise TypeError(f'{block!r}: give the class of the block, or its dotted name.')
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
    entry = BLOCKS.get(class_name(owner_of_forward(type(module))))
    return entry(module) if callable(entry) else entry


def is_registered(block: nn.Module) -> bool:
    """Whether the branches of ``block`` are somebody's registration, which nobody has proven."""
    name = class_name(owner_of_forward(type(block)))
    return name in BLOCKS and BLOCKS[name] is not _BUILT_IN.get(name)


def has_other_forward(block: nn.Module) -> bool:
    """Whether somebody has put a ``forward`` of their own in place of that of the library.

    What only calls it under another name does not count (accelerate, torch.compile).
    """
    cls = owner_of_forward(type(block))
    theirs = unwrap(vars(cls)['forward'])
    if getattr(theirs, '__module__', cls.__module__) != cls.__module__:
        return True
    own = unwrap(vars(block).get('forward', theirs))
    return isinstance(own, MethodType) and own.__self__ is block and own.__func__ is not theirs


def has_shortcut(block: nn.Module, branch: Branch) -> bool:
    """Whether ``block`` adds the result of ``branch`` to anything."""
    if branch.shortcut is None:
        return True
    shortcut = getattr(block, branch.shortcut, None)
    return shortcut is not None and shortcut is not False


def refusal_of(module: nn.Module) -> str | None:
    """Why a block or a model is refused, or None."""
    names = map(class_name, type(module).__mro__)
    reason = next((REFUSED[name] for name in names if name in REFUSED), None)
    if reason is None and is_sequence_first(module) and branches_of(module) is not None:
        return 'its stream has the samples in its second dimension; build it with batch_first=True'
    return reason


def is_sequence_first(module: nn.Module) -> bool:
    """Whether the samples lie in the second dimension of what a block is given."""
    attention = _SEQUENCE_FIRST.get(class_name(owner_of_forward(type(module))))
    return attention is not None and not module.get_submodule(attention).batch_first


def class_name(cls: type) -> str:
    """Dotted name of a class, the key of the table."""
    return f'{cls.__module__}.{cls.__qualname__}'


def owner_of_forward(cls: type) -> type:
    """The class from which ``cls`` has its ``forward``."""
    return next(base for base in cls.__mro__ if 'forward' in vars(base))
