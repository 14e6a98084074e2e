"""Which blocks of a model have residual branches, and where: the table, DropPaths, additions."""

from typing import Any

from torch import nn

from .places.sides import with_sides
from .places.table import Branch, branches_of, has_shortcut, is_sequence_first
from .search.find import find_branches, unnamed_places
from .search.propose import propose
from .search.refuse import nothing_found, problem_text

__all__ = ['collect']


def collect(
    model: nn.Module, implementation: str, example_input: Any, find: str
) -> tuple[list[tuple[str, nn.Module, tuple[Branch, ...], bool]], dict[str, str]]:
    """All blocks with their branches, named by the table or found, in the model's order.

    Returns:
        Name, block, branches and whether they were found, for each; and what is not dropped, why.

    Raises:
        ValueError: there is none; the sentence says what the model has, with lines to copy.
    """
    blocks = {
        name: (module, branches, False)
        for name, module in model.named_modules()
        if (branches := branches_of(module)) is not None and not is_sequence_first(module)
    }
    places = unnamed_places(model, [(module, branches) for module, branches, _ in blocks.values()])
    skipped = _leave_out_without_shortcut(blocks)
    if places:
        must_find = implementation != 'mask'
        found, without_residual = find_branches(model, places, example_input, must_find)
        skipped.update(without_residual)
        for name, (module, branches) in found.items():
            blocks[name] = (
                module,
                blocks[name][1] + branches if name in blocks else branches,
                True,
            )
    if find == 'all':
        _find_all(model, blocks, example_input, skipped)
    if not blocks:
        raise ValueError(nothing_found(model, skipped, example_input))
    order = [name for name, _ in model.named_modules()]
    return [
        (name, block, with_sides(model, name, branches), found)
        for name in sorted(blocks, key=order.index)
        for block, branches, found in (blocks[name],)
    ], skipped


def _leave_out_without_shortcut(blocks: dict[str, tuple]) -> dict[str, str]:
    """Take branches that are added to nothing out of ``blocks``; returns them, with the reason."""
    skipped = {}
    for name, (block, branches, found) in list(blocks.items()):
        kept = tuple(branch for branch in branches if has_shortcut(block, branch))
        for branch in branches:
            if branch not in kept:
                value = getattr(block, branch.shortcut, None)
                reason = f'the block has no shortcut ({branch.shortcut} is {value})'
                skipped[f'{name}.{branch.end}'] = reason
        if kept:
            blocks[name] = (block, kept, found)
        else:
            del blocks[name]
    return skipped


def _find_all(model: nn.Module, blocks: dict, example_input: Any, skipped: dict[str, str]) -> None:
    """Add what the additions of the stream tell to ``blocks``, and what is left to ``skipped``."""
    found, problems, left = propose(model, example_input, set(blocks))
    for name, (block, branches) in found.items():
        blocks[name] = (block, branches, True)
    for name, (block, reason) in problems.items():
        skipped[name] = problem_text(block, reason)
    skipped.update(left)
