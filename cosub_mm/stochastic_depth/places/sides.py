"""What models give their blocks by sample beside the stream."""

from dataclasses import replace
from inspect import signature

from torch import nn

from cosub_mm.stochastic_depth.step.hooks import SideRows
from cosub_mm.stochastic_depth.step.module import StochasticDepth

from .table import Branch, Side, class_name, is_registered

__all__ = ['SIDES', 'is_at_start', 'take_side', 'with_sides']

SIDES: dict[str, tuple[Side, ...]] = {
    'timm.models.naflexvit.NaFlexVit': (Side('attn', 'attn_mask', 4), Side('attn', 'rope', 4)),
}
"""What the blocks of a model are given by sample, by the model's dotted name.

Blocks that other models call with nothing by sample do without the hooks that this takes.
"""


def with_sides(model: nn.Module, name: str, branches: tuple[Branch, ...]) -> tuple[Branch, ...]:
    """``branches`` of the block ``name``, with the :data:`SIDES` that ``model`` gives it.

    Of what the table names, only those that there are: versions of a library take others.
    """
    block = model.get_submodule(name)
    if not is_registered(block):
        branches = tuple(
            replace(branch, sides=tuple(side for side in branch.sides if _takes(block, side)))
            for branch in branches
        )
    path, given = '', [*SIDES.get(class_name(type(model)), ())]
    for part in name.split('.')[:-1]:
        path = f'{path}.{part}'.lstrip('.')
        given += SIDES.get(class_name(type(model.get_submodule(path))), ())
    sides = [side for side in given if name and _takes(block, side)]
    if not sides:
        return branches
    first = replace(branches[0], sides=tuple(dict.fromkeys((*branches[0].sides, *sides))))
    return (first, *branches[1:])


def is_at_start(branch: Branch, side: Side) -> bool:
    """Whether the first module takes it: a hook would come before the rows are drawn."""
    return side.module == branch.start and not branch.back


def take_side(
    block: nn.Module, side: Side, end: StochasticDepth
) -> tuple[nn.Module, str, SideRows]:
    """A module that takes something else by sample, and its hook."""
    module = block.get_submodule(side.module)
    names = list(signature(module.forward).parameters)
    if side.argument not in names:
        raise ValueError(
            f'{type(block).__name__}: {side.module!r} ({type(module).__name__}) has no argument '
            f'{side.argument!r}, only {names}.'
        )
    rows = SideRows(end, side.argument, names.index(side.argument), side.ndim)
    return module, 'register_forward_pre_hook', rows


def _takes(block: nn.Module, side: Side) -> bool:
    module = dict(block.named_modules()).get(side.module)
    return module is not None and side.argument in signature(module.forward).parameters
