"""Find residual branches of blocks that the table does not name, and prove them."""

import itertools
from collections.abc import Set
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from cosub_mm.stochastic_depth.places.drop_path import is_drop_path, parent_of
from cosub_mm.stochastic_depth.places.table import Branch, Side, class_name

from .example import example_inputs
from .prove import disagreement
from .refuse import not_proven
from .residuals import left_over
from .structure import arguments_of, structure_of
from .trace import Call, EndCall, Probe, trace_ends

__all__ = ['Place', 'UnknownBlockError', 'drop_path_slots', 'find_branches', 'unnamed_places']

_MAX_TRIALS = 24


class UnknownBlockError(ValueError):
    """A block whose branches are neither in the table nor found and proven."""


class Place(NamedTuple):
    """A DropPath, or what stands in its place at a rate of 0."""

    name: str
    parent: nn.Module
    attribute: str


class _Found(NamedTuple):
    block_name: str
    block: nn.Module
    end: str
    starts: dict[str, tuple[Side, ...]]  # likeliest first, each with the sides from there on
    args: tuple
    kwargs: dict


def unnamed_places(model: nn.Module, named: list[tuple[nn.Module, tuple]]) -> list[Place]:
    """Places of DropPath in ``model`` that no branch of the ``named`` blocks ends at."""
    claimed = set()
    for block, branches in named:
        for branch in branches:
            for path in (branch.end, *branch.inert):
                parent, attribute = parent_of(block, path)
                claimed.add((id(parent), attribute))
    elsewhere = {
        (type(module), name)
        for module in model.modules()
        for name, child in module.named_children()
        if is_drop_path(child) and not isinstance(module, nn.Sequential)
    }
    return [
        Place(f'{name}.{attribute}'.lstrip('.'), module, attribute)
        for name, module in model.named_modules()
        for attribute in drop_path_slots(module, elsewhere)
        if (id(module), attribute) not in claimed
    ]


def drop_path_slots(module: nn.Module, elsewhere: Set[tuple[type, str]] = frozenset()) -> list[str]:
    """Attributes of ``module`` that hold a DropPath, or what stands in its place at a rate of 0.

    That is an Identity or None whose name says so, or in whose place another module of the same
    class holds a DropPath: these are ``elsewhere``, as (class, attribute).
    """
    slots = {**{k: v for k, v in vars(module).items() if v is None}, **module._modules}
    return [
        name
        for name, child in slots.items()
        if is_drop_path(child)
        or (
            (child is None or type(child) is nn.Identity)
            and ('drop_path' in name or (type(module), name) in elsewhere)
        )
    ]


def find_branches(
    model: nn.Module, places: list[Place], example_input: Any, must_find: bool
) -> tuple[dict[str, tuple[nn.Module, tuple[Branch, ...]]], dict[str, str]]:
    """Find and prove the branches that end at ``places``.

    Args:
        model: is run once, on the example, in evaluation mode.
        places: where branches end.
        example_input: tensor or tuple of arguments for the model, or None to guess an image.
        must_find: raise for a place without a proven start; otherwise such a branch is masked.

    Returns:
        Blocks by name with their branches, and the places that no residual passes, with a reason.

    Raises:
        UnknownBlockError: a branch without a proven start, or a model that the example fails on.
    """
    devices = {p.device.index for p in model.parameters() if p.device.type == 'cuda'}
    # A search changes no seeded run, and proves gradients wherever it is called.
    with (
        torch.random.fork_rng(devices=sorted(devices)),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        return _find(model, places, example_inputs(model, example_input), must_find)


def _find(model: nn.Module, places: list[Place], inputs: tuple, must_find: bool) -> tuple:
    calls = _watch(model, places, inputs)
    found: dict[str, tuple[nn.Module, tuple[Branch, ...]]] = {}
    skipped: dict[str, str] = {}
    verdicts: dict[Any, tuple[tuple[Branch, ...], str]] = {}
    last: dict[str, _Found] = {}
    left: dict[Any, list[str]] = {}
    for place in places:
        group = calls.get(place.name, [])
        if not group or None in group:
            skipped[place.name] = (
                'its result joins no other tensor of its block: no residual ends there'
                if group
                else 'never called: no residual connection, or a forward that leaves it out'
            )
            continue
        key = (
            structure_of(group[0].block),
            group[0].end,
            tuple((tuple(c.starts.items()), arguments_of(c.args, c.kwargs)) for c in group),
        )
        if key not in verdicts:
            verdicts[key] = _prove(group)
        branches, reason = verdicts[key]
        if not branches:
            if must_find:
                raise UnknownBlockError(_not_proven(group[0], reason))
            branches = (Branch(None, group[0].end),)
        name, block = group[0].block_name, group[0].block
        found[name] = (block, (*found[name][1], *branches) if name in found else branches)
        last[name] = group[0]
    if must_find:
        _prove_together(found, last)
    for name, (block, branches) in found.items():
        skipped.update(left_over(name, block, branches, last[name].args, last[name].kwargs, left))
    return found, skipped


def _prove_together(found: dict, last: dict[str, _Found]) -> None:
    """Branches that are right one by one may lie within each other, and then drop rows twice."""
    problems: dict[Any, str | None] = {}
    for name, (block, branches) in found.items():
        if len({branch.end for branch in branches}) < 2:
            continue
        args, kwargs = last[name].args, last[name].kwargs
        key = (structure_of(block), branches, arguments_of(args, kwargs))
        if key not in problems:
            problems[key] = disagreement(block, branches, args, kwargs)
        if problems[key] is not None:
            raise UnknownBlockError(
                _not_proven(last[name], f'together with the other branches, {problems[key]}')
            )


def _watch(model: nn.Module, places: list[Place], inputs: tuple) -> dict[str, list[_Found | None]]:
    """Run the model and note, for each place, its calls within the first block that calls it."""
    originals = [getattr(place.parent, place.attribute) for place in places]
    calls: dict[str, list[_Found | None]] = {}
    owners: dict[str, Call] = {}

    def note(end: EndCall, stream: Tensor | None) -> None:
        callers = end.call.ancestors()
        if stream is not None and end.scope in callers:
            found, owner = _locate(end, stream)
        else:
            found, owner = None, callers[0]
        name = end.call.name
        if owners.setdefault(name, owner) is owner:
            calls.setdefault(name, []).append(found)

    try:
        for place in places:
            _set(place, Probe())
        trace_ends(model, inputs, note)
    except Exception as error:
        raise UnknownBlockError(
            f'{type(model).__name__} has blocks that the table does not name, such as '
            f'{class_name(type(places[0].parent))} ({places[0].name!r} and {len(places) - 1} more '
            f'places of DropPath), and it failed on '
            f'the example it was to be searched with, {tree_map(_shape, inputs)}: '
            f'{type(error).__name__}: {error}. Give apply_stochastic_depth(example_input=...) what '
            f'the model takes, or register the block.'
        ) from error
    finally:
        for place, original in zip(places, originals):
            _set(place, original)
    return calls


def _locate(end: EndCall, stream: Tensor) -> tuple[_Found, Call]:
    """The block of one DropPath call, and where its branch may start, likeliest first."""
    callers = end.call.ancestors()
    outer = callers[callers.index(end.scope) :]  # a module below may hold the end and start there
    owner, likeliest = end.scope, []
    for caller in outer:
        fed = [c for c in caller.descendants() if c.is_fed_by(stream) and c not in outer]
        if fed or caller.is_fed_by(stream):  # what is given the stream holds the branch
            owner, likeliest = caller, fed[:1]
            break
    children = list(
        itertools.takewhile(lambda c: c is not end.call and c not in callers, owner.children)
    )
    ends = [i for i, c in enumerate(children) if _holds_probe(c)]
    inside = [c for c in owner.children if c in callers]  # the module that holds the end
    candidates = likeliest + children[ends[-1] + 1 if ends else 0 :] + inside
    prefix = f'{owner.name}.' if owner.name else ''
    starts: dict[str, tuple[Side, ...]] = {}
    for call in candidates:
        name = call.name.removeprefix(prefix)
        if name not in starts:
            starts[name] = _sides(owner, stream, prefix, call, end.call)
    args, kwargs = tree_map(_copy, (owner.args, owner.kwargs))
    return (
        _Found(
            owner.name,
            owner.module,
            end.call.name.removeprefix(prefix),
            starts,
            args,
            kwargs,
        ),
        owner,
    )


def _sides(owner: Call, stream: Tensor, prefix: str, start: Call, end: Call) -> tuple[Side, ...]:
    """What modules from ``start`` to ``end`` are handed by sample beside the stream."""
    given = [
        x
        for x in tree_leaves((owner.args, owner.kwargs))
        if isinstance(x, Tensor)
        and x is not stream
        and not start.is_fed_by(x)  # the stream as it was, where a shortcut projects it
        and x.shape[:1] == stream.shape[:1]
    ]
    calls = owner.descendants()
    sides = [
        Side(call.name.removeprefix(prefix), name, ndim)
        for call in calls[calls.index(start) : calls.index(end)]
        for name, ndim in call.takes(given)
        if not call.is_fed_by(stream) and (call is not start or name != call.first_name())
    ]
    return tuple(dict.fromkeys(sides))


def _holds_probe(call: Call) -> bool:
    return any(isinstance(c.module, Probe) for c in (call, *call.descendants()))


def _prove(group: list[_Found]) -> tuple[tuple[Branch, ...], str]:
    first, reason = group[0], 'no module is called between the stream and the DropPath'
    options = itertools.product(*(found.starts for found in group))
    for starts in itertools.islice(options, _MAX_TRIALS):
        branches = tuple(
            Branch(start, first.end, sides=found.starts[start])
            for start, found in zip(starts, group)
        )
        problem = disagreement(first.block, branches, first.args, first.kwargs)
        if problem is None:
            return branches, ''
        reason = f'starting at {starts if len(starts) > 1 else starts[0]!r}, {problem}'
    return (), reason


def _not_proven(found: _Found, reason: str) -> str:
    return not_proven(found.block_name, found.block, found.end, reason)


def _set(place: Place, child: nn.Module | None) -> None:
    if child is None:
        place.parent._modules.pop(place.attribute, None)
        object.__setattr__(place.parent, place.attribute, None)
    else:
        place.parent.__dict__.pop(place.attribute, None)
        place.parent._modules[place.attribute] = child


def _copy(x: Any) -> Any:
    return x.detach().clone() if isinstance(x, Tensor) else x


def _shape(x: Any) -> Any:
    return tuple(x.shape) if isinstance(x, Tensor) else x
