"""Find the branches of blocks that have no DropPath, by the additions of the stream."""

import copy
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from cosub_mm.stochastic_depth.places.table import Branch, owner_of_forward
from cosub_mm.stochastic_depth.step.hooks import Hook

from .additions import watch_additions
from .example import example_inputs, rows_in
from .own_rate import drops_by_itself, own_rate_of
from .prove import as_double, disagreement, in_double
from .residuals import left_over, locate, residuals_of, vanishes
from .structure import arguments_of, structure_of

_NOTHING = 'nothing is added to its stream, or only to a projection of it'
_ELSEWHERE = (
    'the {} samples of the example are not in the first dimension of its stream, whose rows would '
    'be dropped in their place'
)

__all__ = ['Proposals', 'lines_to_copy', 'propose']


class Proposals(NamedTuple):
    """What the additions of a model tell.

    Attributes:
        found: blocks by name, with the branches that were proven.
        problems: blocks by name, and why their branches could not be proven.
        left: what is added within blocks that were found and no branch covers, with a sentence.
    """

    found: dict[str, tuple[nn.Module, tuple[Branch, ...]]]
    problems: dict[str, tuple[nn.Module, str]]
    left: dict[str, str]


def propose(model: nn.Module, example_input: Any, taken: set[str]) -> Proposals:
    """Find and prove the branches of blocks that add to the stream, DropPath or not.

    Args:
        model: is run twice, on the example, in evaluation mode.
        example_input: as for :func:`~cosub_mm.stochastic_depth.apply_stochastic_depth`.
        taken: names of blocks whose branches are known.

    Raises:
        Exception: whatever the model raises on the example.
    """
    devices = {p.device.index for p in model.parameters() if p.device.type == 'cuda'}
    modes = {module: module.training for module in model.modules()}
    with torch.random.fork_rng(devices=sorted(devices)):
        try:
            model.eval()
            inputs = example_inputs(model, example_input)
            names = _blocks(model, inputs, taken)
            calls = _calls(model, names, inputs)
        finally:
            for module, mode in modes.items():
                module.training = mode
        return _prove_all(model, names, calls, rows_in(inputs))


def lines_to_copy(proposals: Proposals) -> str:
    """The registration of every class that was found, ready to be copied."""
    by_class: dict[type, Counter] = {}
    for block, branches in proposals.found.values():
        by_class.setdefault(owner_of_forward(type(block)), Counter())[branches] += 1
    imports, calls = ['from cosub_mm.stochastic_depth import Branch, register_block'], []
    for cls, counts in by_class.items():
        imports.append(f'from {cls.__module__} import {cls.__qualname__}')
        arguments = [cls.__qualname__, *map(repr, counts.most_common(1)[0][0])]
        calls += ['', 'register_block(', *(f'    {argument},' for argument in arguments), ')']
    return '\n'.join(f'    {line}'.rstrip() for line in (*imports, *calls))


def _blocks(model: nn.Module, inputs: tuple, taken: set[str]) -> list[str]:
    """Names of modules that add to the stream, and of others of their classes."""
    with watch_additions(model) as tape:
        model(*inputs)
    residuals = (locate(tape, addition) for addition in tape.additions)
    located = dict.fromkeys(r.block.name for r in residuals if r is not None)
    located = [n for n in located if not any(_is_in(n, t) or _is_in(t, n) for t in taken)]
    # A skip over several blocks is not a block, and a small one within a block is part of it.
    outer = {n for n in located if sum(_is_in(m, n) for m in located) > 2}
    located = [n for n in located if n not in outer]
    located = [n for n in located if not any(m != n and _is_in(n, m) for m in located)]
    kinds = {n: owner_of_forward(type(model.get_submodule(n))) for n in located}
    counts = Counter(kinds.values())
    if max(counts.values(), default=0) > 1:  # a pooling head, say, is no block of the stream
        located = [n for n in located if counts[kinds[n]] > 1]
    classes = {kinds[n] for n in located}
    others = [
        name
        for name, module in model.named_modules()
        if owner_of_forward(type(module)) in classes
        and name not in outer
        and not any(_is_in(name, n) or _is_in(n, name) for n in (*located, *taken))
    ]
    return [name for name, _ in model.named_modules() if name in {*located, *others}]


def _is_in(name: str, outer: str) -> bool:
    return name == outer or not outer or name.startswith(f'{outer}.')


def _calls(model: nn.Module, names: list[str], inputs: tuple) -> dict[str, tuple[tuple, dict]]:
    """What each block is called with first; one for blocks of one structure."""
    calls: dict[str, tuple[tuple, dict]] = {}
    held: dict[Any, tuple[tuple, dict]] = {}
    hooks = []
    for name in names:

        def keep(module: nn.Module, args: tuple, kwargs: dict, name: str = name) -> None:
            key = (structure_of(module), arguments_of(args, kwargs))
            if key not in held:
                held[key] = tree_map(_copy, (args, kwargs))
            calls.setdefault(name, held[key])

        block = model.get_submodule(name)
        hooks.append(Hook(block, 'register_forward_pre_hook', keep, with_kwargs=True))
    try:
        for hook in hooks:
            hook.switch(True)
        with torch.no_grad():
            model(*inputs)
    finally:
        for hook in hooks:
            hook.switch(False)
    return calls


def _prove_all(model: nn.Module, names: list[str], calls: dict, rows: int) -> Proposals:
    verdicts: dict[Any, tuple[tuple[Branch, ...], str]] = {}
    known: dict[type, list[tuple[Branch, ...]]] = {}
    result = Proposals({}, {}, {})
    # Those whose shortcut is projected follow the others of their class.
    for retry in (False, True):
        for name in names:
            if name in result.found or name not in calls:
                continue
            block = model.get_submodule(name)
            cls = owner_of_forward(type(block))
            key = (structure_of(block), arguments_of(*calls[name]), retry)
            if key not in verdicts:
                siblings = known.get(cls, []) if retry else []
                if _samples_are_elsewhere(*calls[name], rows):
                    verdicts[key] = ((), _ELSEWHERE.format(rows))
                else:
                    verdicts[key] = _prove(block, *calls[name], siblings)
            branches, reason = verdicts[key]
            if branches:
                result.found[name] = (block, branches)
                result.problems.pop(name, None)
                if branches not in known.setdefault(cls, []):
                    known[cls].append(branches)
            else:
                result.problems[name] = (block, reason)
    known_left: dict[Any, list[str]] = {}
    for name, (block, branches) in result.found.items():
        result.left.update(left_over(name, block, branches, *calls[name], known_left))
    return _with_shortcuts(result)


def _samples_are_elsewhere(args: tuple, kwargs: dict, rows: int) -> bool:
    """Whether the first dimension of the stream is not that of the samples, as in openai/CLIP."""
    leaves = tree_leaves((args, kwargs))
    x = next((x for x in leaves if isinstance(x, Tensor) and x.ndim > 1), None)
    if x is None or not rows:
        return False
    return len(x) % rows > 0 or (x.ndim > 2 and len(x) != rows == x.shape[1])


def _with_shortcuts(result: Proposals) -> Proposals:
    """Name the attribute that tells blocks with a shortcut from those of a class that have none."""
    for cls in {owner_of_forward(type(block)) for block, _ in result.found.values()}:
        have = [b for b, _ in result.found.values() if owner_of_forward(type(b)) is cls]
        lack = [
            b
            for b, reason in result.problems.values()
            if owner_of_forward(type(b)) is cls and reason == _NOTHING
        ]
        name = _telling(have, lack) if lack else None
        for key, (block, branches) in list(result.found.items()):
            if name and owner_of_forward(type(block)) is cls:
                named = tuple(replace(branch, shortcut=name) for branch in branches)
                result.found[key] = (block, named)
    return result


def _telling(have: list[nn.Module], lack: list[nn.Module]) -> str | None:
    """An attribute that is None or False in those that lack a shortcut, and in no other."""

    def is_there(block: nn.Module, name: str) -> bool:
        value = getattr(block, name, None)
        return value is not None and value is not False

    names = [name for name in (*vars(have[0]), *have[0]._modules) if not name.startswith('_')]
    return next(
        (
            name
            for name in names
            if name != 'training'
            and all(is_there(block, name) for block in have)
            and not any(is_there(block, name) for block in lack)
        ),
        None,
    )


def _prove(
    block: nn.Module, args: tuple, kwargs: dict, siblings: list[tuple[Branch, ...]]
) -> tuple[tuple[Branch, ...], str]:
    """Branches of one block, or none and the reason."""
    try:
        trial = in_double(block)
        double = as_double(args, kwargs)
        residuals = residuals_of(trial, *double)
        for branches in siblings:
            if not residuals and _fits(block, trial, branches, args, kwargs, double):
                return branches, ''
        if not residuals:
            return (), _NOTHING
        own = own_rate_of(trial, *double)
        if own:
            setattr(trial, own, 0.0)
        if drops_by_itself(trial, *double):
            return (), 'it drops samples by itself in forward, and no attribute of it rules that'
        branches: tuple[Branch, ...] = ()
        for index, residual in residuals:
            branch = _branch(block, trial, index, residual, args, kwargs, double)
            if branch is None:
                return (), f'no module ends what is added behind {residual.ends!r}'
            branches += (replace(branch, own_rate=own),)
        problem = disagreement(block, branches, args, kwargs)
        return ((), problem) if problem else (branches, '')
    except Exception as error:  # whatever a foreign block raises
        return (), f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'


def _branch(
    block: nn.Module, trial: nn.Module, index: int, residual: Any, args, kwargs, double: tuple
) -> Branch | None:
    """The first start and end that are right; masked where no start is."""
    for end in residual.ends:
        masked = Branch(None, end, after=True)
        if not vanishes(trial, masked, index, *double):
            continue
        for start in residual.starts:
            branch = replace(masked, start=start)
            if disagreement(block, (branch,), args, kwargs) is None:
                return branch
        return masked
    return None


def _fits(
    block: nn.Module, trial: nn.Module, branches: tuple[Branch, ...], args, kwargs, double: tuple
) -> bool:
    """Whether the branches of another block of the class are this one's, whose shortcut differs."""
    try:
        with watch_additions(trial) as tape:
            trial.eval()(*double[0], **double[1])
        count = len(tape.additions)
        covered = all(
            any(vanishes(trial, branch, i, *double) for i in range(count)) for branch in branches
        )
    except (AttributeError, ValueError):
        return False
    return covered and disagreement(block, branches, args, kwargs) is None


def _copy(x: Any) -> Any:
    return x.detach().clone() if isinstance(x, Tensor) else copy.copy(x)
