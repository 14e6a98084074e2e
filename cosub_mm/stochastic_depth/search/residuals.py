"""The residual additions of one block: where their branches are, and which none of them covers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from cosub_mm.stochastic_depth.places.attach import attach, detach_all
from cosub_mm.stochastic_depth.places.table import Branch

from .additions import Addition, Tape, Visit, watch_additions
from .prove import as_double, in_double
from .structure import arguments_of, structure_of

__all__ = [
    'Residual',
    'left_over',
    'locate',
    'nothing_is_left',
    'residuals_of',
    'uncovered',
    'vanishes',
]

_ALL = 1 - 1e-12  # a rate at which no row is kept
_ENDS = 4
_LEFT = 'what it ends is added to the stream of {}, and no branch covers it'


class Residual(NamedTuple):
    """One residual addition, and where its branch may be.

    Attributes:
        block: call of the module that it belongs to.
        starts: modules that may start the branch, seen from the block, likeliest first.
        ends: modules behind which it may end.
    """

    block: Visit
    starts: tuple[str, ...]
    ends: tuple[str, ...]


def locate(tape: Tape, addition: Addition) -> Residual | None:
    """The smallest module that is given the stream, or calls one that is given it."""
    if addition.stream is None or addition.scope is None:
        return None
    for caller in addition.scope.callers():
        inside = [
            visit
            for visit in tape.visits
            if caller.begun < visit.begun
            and visit.ended is not None
            and visit.ended <= addition.result
            and visit.made is not None
        ]
        on_path = [v for v in inside if tape.is_made_of(addition.residual, v.made)]
        starts = [v for v in on_path if v.fed == addition.stream]
        if starts or caller.fed == addition.stream:
            break
    else:
        return None
    last = sorted(
        (v for v in on_path if tape.is_made_of(v.made, addition.stream)),
        key=lambda v: (v.made == addition.residual, v.ended),
        reverse=True,
    )
    prefix = f'{caller.name}.' if caller.name else ''
    return Residual(
        caller,
        tuple(dict.fromkeys(v.name.removeprefix(prefix) for v in starts)),
        tuple(dict.fromkeys(v.name.removeprefix(prefix) for v in last[:_ENDS])),
    )


def residuals_of(block: nn.Module, args: tuple, kwargs: dict) -> list[tuple[int, Residual]]:
    """Residual additions of ``block`` itself, each with its place among all additions.

    Args:
        block: is run once, in evaluation mode.
        args: what it is called with, batch first.
        kwargs: the same, by name.
    """
    block.eval()
    with watch_additions(block) as tape:
        block(*args, **kwargs)
    found = [(i, locate(tape, addition)) for i, addition in enumerate(tape.additions)]
    return [(i, residual) for i, residual in found if residual and not residual.block.name]


def vanishes(block: nn.Module, branch: Branch, index: int, args: tuple, kwargs: dict) -> bool:
    """Whether nothing is added at the addition ``index`` once ``branch`` drops all rows."""
    tape = _without(block, (branch,), args, kwargs)
    return index < len(tape.additions) and bool(tape.additions[index].vanished.all())


def uncovered(
    block: nn.Module, branches: tuple[Branch, ...], args: tuple, kwargs: dict
) -> list[str]:
    """Residual additions of ``block`` that still add something once all ``branches`` are dropped.

    Args:
        block: a copy in float64 with random weights.
        branches: of it.
        args: what it is called with, batch first.
        kwargs: the same, by name.

    Returns:
        The last module of each, seen from the block.
    """
    tape = _without(block, branches, args, kwargs)
    root = tape.visits[0]
    done = [a for a in tape.additions if bool(a.vanished.all())]
    return [
        _last_module(tape, addition)
        for addition in tape.additions
        if addition not in done
        and _is_residual(tape, addition, root)
        and not any(_lies_within(tape, addition, other, root) for other in done)
    ]


def left_over(
    name: str,
    block: nn.Module,
    branches: tuple[Branch, ...],
    args: tuple,
    kwargs: dict,
    known: dict,
) -> dict[str, str]:
    """Residual additions of a block that no branch covers, by the module before, with a sentence.

    Args:
        name: the block.
        block: stays as it is.
        branches: its branches.
        args: what it is called with, batch first.
        kwargs: the same, by name.
        known: what blocks of one structure have come to.
    """
    key = (structure_of(block), branches, arguments_of(args, kwargs))
    if key not in known:
        try:
            known[key] = uncovered(in_double(block), branches, *as_double(args, kwargs))
        except Exception:  # it cannot be run in float64; the branches were judged elsewhere
            known[key] = []
    return {f'{name}.{path}'.lstrip('.'): _LEFT.format(type(block).__name__) for path in known[key]}


def nothing_is_left(
    block: nn.Module, branches: tuple[Branch, ...], args: tuple, kwargs: dict
) -> bool:
    """Whether nothing of the stream comes out of ``block`` once all ``branches`` are dropped.

    Then they are added to nothing: the block has no shortcut.
    """
    detach_all(block)
    block.eval()
    leaves, spec = tree_flatten((args, kwargs))
    leaves = [
        x.clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in leaves
    ]
    args, kwargs = tree_unflatten(leaves, spec)
    given = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
    try:
        for end in attach(block, [(branch, _ALL) for branch in branches], 'mask'):
            end.train()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            outputs = [x for x in tree_leaves(block(*args, **kwargs)) if isinstance(x, Tensor)]
            total = sum(x.sum() for x in outputs if x.requires_grad)
            if not isinstance(total, Tensor):
                return False
            grads = torch.autograd.grad(total, given, allow_unused=True)
    finally:
        detach_all(block)
    return not any(grad is not None and bool(grad.any()) for grad in grads)


def _without(block: nn.Module, branches: tuple[Branch, ...], args: tuple, kwargs: dict) -> Tape:
    """What is left with all rows of ``branches`` dropped."""
    detach_all(block)
    block.eval()
    try:
        for end in attach(block, [(branch, _ALL) for branch in branches], 'mask'):
            end.train()
        with torch.random.fork_rng(devices=[]), watch_additions(block) as tape:
            block(*args, **kwargs)
    finally:
        detach_all(block)
    return tape


def _is_residual(tape: Tape, addition: Addition, root: Visit) -> bool:
    """Whether something made of the stream is added to the stream, or to its projection."""
    if root.fed is None or root.made is None or not tape.is_made_of(root.made, addition.result):
        return False
    return all(tape.is_made_of(number, root.fed) for number in addition.operands)


def _lies_within(tape: Tape, addition: Addition, other: Addition, root: Visit) -> bool:
    """Whether it is a part of what ``other`` adds."""
    stream = root.fed if other.stream is None else other.stream
    within = tape.is_made_of(addition.result, stream) and addition.result != stream
    return within and any(
        tape.is_made_of(number, addition.result)
        for number in other.operands
        if number != other.stream
    )


def _last_module(tape: Tape, addition: Addition) -> str:
    ended = [
        v
        for v in tape.visits
        if v.name and v.ended is not None and v.ended <= addition.result and v.made is not None
    ]
    made = [v for v in ended if tape.is_made_of(addition.residual, v.made)]
    return max(made, key=lambda v: v.ended).name if made else '(no module)'
