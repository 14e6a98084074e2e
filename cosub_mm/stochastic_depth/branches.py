"""THE table: where each residual branch of a block starts and ends.

A branch *starts* at the first module that works on it and *ends* at the module in DropPath's place.
Everything between sees the kept rows only.
"""

from dataclasses import dataclass

from torch import nn

__all__ = ['BLOCKS', 'Branch', 'branches_of', 'register_block']


@dataclass(frozen=True)
class Branch:
    """One residual branch of a block.

    Args:
        start: path of the first module of the branch, seen from the block.
        end: path of its DropPath (or of what stands there at a rate of 0).
    """

    start: str
    end: str


_PRE_NORM = (Branch('norm1', 'drop_path1'), Branch('norm2', 'drop_path2'))
_POST_NORM = (Branch('attn', 'drop_path1'), Branch('mlp', 'drop_path2'))
_MM_VIT = (Branch('ln1', 'attn.out_drop'), Branch('ln2', 'ffn.dropout_layer'))

BLOCKS: dict[str, tuple[Branch, ...]] = {
    'timm.models.vision_transformer.Block': _PRE_NORM,
    'timm.models.vision_transformer.ResPostBlock': _POST_NORM,
    'mmpretrain.models.backbones.vision_transformer.TransformerEncoderLayer': _MM_VIT,
    # Stock DeiT3 calls ln1 in both branches and ln2 in none, so both start behind it.
    'mmpretrain.models.backbones.deit3.DeiT3TransformerEncoderLayer': (
        Branch('attn', 'attn.out_drop'),
        Branch('ffn.layers', 'ffn.dropout_layer'),
    ),
}


def register_block(block: type[nn.Module] | str, *branches: Branch) -> None:
    """Tell where the branches of a block class are.

    Args:
        block: the class that defines ``forward``, or its dotted name.
        branches: its residual branches, in the order in which they run.
    """
    BLOCKS[block if isinstance(block, str) else _name(block)] = branches


def branches_of(module: nn.Module) -> tuple[Branch, ...] | None:
    """Branches of a block, or None if the table does not name it.

    A subclass that inherits ``forward`` is the same block; one that overrides it may be any.
    """
    for cls in type(module).__mro__:
        if 'forward' in vars(cls):
            return BLOCKS.get(_name(cls))
    return None


def _name(cls: type) -> str:
    return f'{cls.__module__}.{cls.__qualname__}'
