"""Putting ends and hooks into a block, and taking them out."""

import dataclasses
from collections.abc import Callable
from typing import Any

from torch import nn

from cosub_mm.stochastic_depth.rows.rule import is_convolutional
from cosub_mm.stochastic_depth.step.counts import Counts
from cosub_mm.stochastic_depth.step.hooks import (
    Finish,
    Hook,
    Leave,
    ModelHook,
    SharedStart,
    Start,
)
from cosub_mm.stochastic_depth.step.module import Place, StochasticDepth
from cosub_mm.stochastic_depth.step.plan import Draws
from cosub_mm.stochastic_depth.step.shadow import MethodStart, Watch
from cosub_mm.stochastic_depth.step.standing import Standing, place_of
from cosub_mm.stochastic_depth.step.windows import Back, NoteBatch, OneStream, WindowStart

from .drop_path import built_rate, ends_of, is_drop_path, parent_of
from .sides import is_at_start, take_side
from .table import Branch

__all__ = ['attach', 'changes', 'detach_all', 'draw_at_once']

_changes = 0

_Spot = tuple[nn.Module, str]  # a module and the name of an attribute that holds a child, or may


def attach(
    block: nn.Module,
    branches: list[tuple[Branch, float | None]],
    implementation: str,
    place: Place | None = None,
    kept_rates: dict | None = None,
    counts: Counts | None = None,
    saving: Callable | None = None,
    draws: Draws | None = None,
) -> list[StochasticDepth]:
    """Make the branches of a block stochastic.

    Args:
        block: its modules at the ends of the branches change.
        branches: each branch, and its drop rate, or None for ``kept_rates`` and else what the block
            was built with. Branches with one end have the rate of the first.
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``.
        place: what the ends are to know of the block and the call.
        kept_rates: rate by (id of the end's parent, its name there).
        counts: of the model.
        saving: :func:`~cosub_mm.stochastic_depth.savings.regather.regather_for_backward`, or None.
        draws: of the model.

    Returns:
        The ends, without those that are inert.

    Raises:
        ValueError: a branch names a module that is not there, or ends at one that does more than
            dropping paths.
    """
    _changed()
    counts = counts or Counts()
    place = place or Place()
    by_spot: dict[tuple[int, str], list[Branch]] = {}
    rates: dict[tuple[int, str], float] = {}
    spots: dict[tuple[int, str], _Spot] = {}
    for branch, rate in branches:
        spot, built = _look_up(block, branch)
        key = (id(spot[0]), spot[1])
        by_spot.setdefault(key, []).append(branch)
        spots[key] = spot
        if rate is None:
            own = getattr(block, branch.own_rate) if branch.own_rate else 0.0
            rate = (kept_rates or {}).get(key, max(own, *map(built_rate, built), 0.0))
        rates.setdefault(key, rate)
    ends = []
    for key, group in by_spot.items():
        record = _record(block, group, place, rates[key])
        end = StochasticDepth(
            rates[key],
            implementation,
            getattr((*record.original, None)[0], 'scale_by_keep', True),
            record,
            counts,
            draws,
        )
        _put_child(*spots[key], end, block.training)
        end.home = (block, *spots[key])
        ends.append(end)
    for branch, _ in branches:
        for path in branch.inert:
            _make_inert(block, path, counts)
        if branch.own_rate:
            setattr(block, branch.own_rate, 0.0)
    _hook(block, by_spot, ends, saving)
    return ends


def detach_all(model: nn.Module) -> None:
    """Put the original modules back and remove the hooks."""
    _changed()
    for end in ends_of(model):
        for hook in end.hooks:
            hook.switch(False)
        if end.place.own_rate:
            setattr(end.home[0], *end.place.own_rate)
    for module in list(model.modules()):
        for name, child in list(module._modules.items()):
            if isinstance(child, StochasticDepth) and child.place.original:
                _put_child(module, name, child.place.original[0], child.training)
            elif isinstance(child, StochasticDepth):
                del module._modules[name]


def draw_at_once(model: nn.Module, draws: Draws) -> None:
    """Let the ends of ``model`` share the draws of each of its forward passes."""
    ends = ends_of(model)
    first = ends[0]
    if any(end.starts for end in ends):
        draws.place = first.place
    hooks = [
        ModelHook(model, 'register_forward_pre_hook', draws.begin),
        ModelHook(model, 'register_forward_hook', draws.end, always_call=True),
    ]
    first.hooks[:0] = hooks
    first.train(first.training)


def changes() -> int:
    """How often models were changed; what is known of one holds until the next time."""
    return _changes


def _changed() -> None:
    global _changes
    _changes += 1


def _look_up(block: nn.Module, branch: Branch) -> tuple[_Spot, list[nn.Module | None]]:
    """Where the end of a branch goes, and the DropPaths that it stands for."""
    try:
        places = [parent_of(block, path) for path in (branch.end, *branch.inert)]
        originals = [getattr(*place) for place in places]
        for path in branch.paths():
            getattr(*parent_of(block, path))
        for side in branch.sides:
            block.get_submodule(side.module)
    except AttributeError as error:
        raise ValueError(f'{type(block).__name__} has no branch {branch}: {error}.') from None
    if branch.after:  # its DropPath stands elsewhere
        return (block, f'drop_path_after_{branch.end.replace(".", "_")}'), originals[1:]
    return places[0], originals[:1]


def _record(block: nn.Module, group: list[Branch], place: Place, rate: float) -> Place:
    """The record of one end."""
    first = group[0]
    original: tuple[nn.Module | None, ...] = ()
    if not first.after:
        original = (getattr(*parent_of(block, first.end)),)
        _check_end(block, first.end, original[0])
    return dataclasses.replace(
        place,
        path=first.end,
        starts=tuple(branch.start for branch in group),
        convolutional=is_convolutional(block),
        undropped='' if rate else first.undropped,
        original=original,
        own_rate=(first.own_rate, getattr(block, first.own_rate)) if first.own_rate else None,
    )


def _make_inert(block: nn.Module, path: str, counts: Counts) -> None:
    """Switch off a DropPath that would drop a branch a second time."""
    spot = parent_of(block, path)
    original = getattr(*spot)
    if isinstance(original, StochasticDepth):
        return
    _check_end(block, path, original)
    inert = StochasticDepth(0.0, 'mask', place=Place(original=(original,)), counts=counts)
    _put_child(*spot, inert, block.training)


def _hook(
    block: nn.Module,
    groups: dict[Any, list[Branch]],
    ends: list[StochasticDepth],
    saving: Callable | None,
) -> None:
    """Give each end its hooks, which it switches on in training."""
    begun, loose = [], []
    for group, end in zip(groups.values(), ends):
        hooks: list = []
        if group[0].after:
            last = block.get_submodule(group[0].end)
            end.last = (last, *place_of(block, last))
            hooks.append(Hook(last, 'register_forward_hook', Finish(end)))
        started = [branch for branch in group if branch.start is not None]
        if end.implementation == 'mask':
            started = []
        for branch in started:
            hooks += _start(block, branch, end, saving)
        if started:
            begun.append(end)
            hooks += [
                Hook(*take_side(block, side, end), with_kwargs=True)
                for branch in group
                for side in branch.sides
                if not is_at_start(branch, side)
            ]
        if group[0].after or not started:
            loose.append(end)
        if any(branch.one_stream or branch.ndim for branch in group):
            one = OneStream(end, max(branch.ndim for branch in group))
            hooks.append(Hook(block, 'register_forward_pre_hook', one, with_kwargs=True))
        end.hooks = hooks
    if begun:
        begun[0].hooks.append(Watch(block, begun))
    if loose:
        loose[0].hooks.append(Hook(block, 'register_forward_hook', Standing(loose)))
    for end in ends:
        end.train(end.training)


def _start(block: nn.Module, branch: Branch, end: StochasticDepth, saving: Callable | None) -> list:
    """The hooks where one branch starts."""
    path = branch.start
    owner, name = parent_of(block, path)
    first = getattr(owner, name)
    if branch.back:
        return _windows(block, branch, end, first)
    kind = SharedStart if None in end.place.starts else Start
    if not isinstance(first, nn.Module):
        start = kind(end, block, path, None)
        end.starts.append(start)
        return [MethodStart(owner, name, start)]
    holds_end = branch.end == path or branch.end.startswith(f'{path}.')
    may_save = saving is not None and end.place.convolutional and not holds_end
    start = kind(end, block, path, first, saving if may_save else None)
    end.starts.append(start)
    sides = [take_side(block, side, end)[-1] for side in branch.sides if is_at_start(branch, side)]
    hooks: list = [MethodStart(first, 'forward', start, sides)]
    if may_save:
        hooks.append(Hook(first, 'register_forward_hook', Leave(end), always_call=True))
    return hooks


def _windows(block: nn.Module, branch: Branch, end: StochasticDepth, first: nn.Module) -> list:
    """The hooks of a branch that needs all rows again before it ends."""
    start = WindowStart(end, block, branch.start, first)
    end.starts.append(start)
    back = block.get_submodule(branch.back)
    return [
        Hook(block, 'register_forward_pre_hook', NoteBatch(start), with_kwargs=True),
        Hook(first, 'register_forward_pre_hook', start),
        Hook(back, 'register_forward_hook', Back(end)),
    ]


def _check_end(block: nn.Module, path: str, original: nn.Module | None) -> None:
    if getattr(original, 'mode', 'row') != 'row':
        raise ValueError(
            f"{type(block).__name__}: {path!r} drops whole batches (mode='batch'); only "
            f"mode='row', which drops samples, is supported."
        )
    harmless = original is None or isinstance(original, nn.Identity) or is_drop_path(original)
    if isinstance(original, nn.Dropout):
        harmless = original.p == 0
    if not harmless:
        raise ValueError(
            f'{type(block).__name__}: {path!r} is {original}, neither a DropPath nor an '
            f'Identity; replacing it would change the model. If the branch ends behind it, say so: '
            f'Branch(..., after=True).'
        )


def _put_child(parent: nn.Module, name: str, child: nn.Module | None, training: bool) -> None:
    if child is None:  # timm's convnets hold a plain None where the rate is 0
        del parent._modules[name]
        object.__setattr__(parent, name, None)
        return
    child.train(training)
    parent.__dict__.pop(name, None)
    parent._modules[name] = child
