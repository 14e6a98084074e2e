"""Prove branches that somebody has registered, as soon as an input is at hand."""

import contextvars
import warnings
from threading import Thread
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from cosub_mm.stochastic_depth.places.table import Branch, class_name
from cosub_mm.stochastic_depth.step.compare import run
from cosub_mm.stochastic_depth.step.hooks import Hook
from cosub_mm.stochastic_depth.step.module import StochasticDepth

from .example import example_inputs
from .find import UnknownBlockError
from .own_rate import own_rate_of
from .prove import as_double, disagreement, in_double
from .residuals import left_over, nothing_is_left
from .structure import arguments_of, structure_of

__all__ = ['prove_at_first_input', 'prove_on_example']

_ROWS = 3
_Verdict = tuple[str | None, ...]  # what is wrong, if anything; then what no branch covers
_Registered = list[tuple[str, nn.Module, tuple[Branch, ...]]]


class _Proof:
    """Forward pre-hook of a block, which goes once its branches are proven.

    Args:
        end: the end whose hooks it belongs to.
        name: the block.
        branches: what was registered.
        known: what blocks of the same structure have come to.
    """

    def __init__(
        self, end: StochasticDepth, name: str, branches: tuple[Branch, ...], known: dict
    ) -> None:
        self.end, self.name, self.branches, self.known = end, name, branches, known
        self.hook: Hook | None = None

    def __call__(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Prove the branches on what the block is given."""
        if torch.compiler.is_compiling():
            return
        _require(self.name, module, self.branches, args, kwargs, self.known)
        if self.hook in self.end.hooks:
            self.end.hooks.remove(self.hook)
        self.hook.switch(False)


def prove_at_first_input(blocks: _Registered) -> None:
    """Let each of the ``blocks``, to which ends are attached, prove its branches when it runs."""
    known: dict[Any, _Verdict] = {}
    for name, block, branches in blocks:
        end = next((m for m in block.modules() if isinstance(m, StochasticDepth)), None)
        if end is None:
            continue
        proof = _Proof(end, name, branches, known)
        proof.hook = Hook(block, 'register_forward_pre_hook', proof, with_kwargs=True)
        end.hooks.insert(0, proof.hook)
        proof.hook.switch(end.training)


def prove_on_example(model: nn.Module, blocks: _Registered, example_input: Any) -> None:
    """Prove the branches of ``blocks`` on what they are given when ``model`` runs the example.

    Raises:
        UnknownBlockError: a branch that is not what it is registered as.
    """
    calls: dict[str, tuple[tuple, dict]] = {}
    modes = {module: module.training for module in model.modules()}
    handles = [
        block.register_forward_pre_hook(
            lambda module, args, kwargs, name=name: calls.setdefault(name, (args, kwargs)) and None,
            with_kwargs=True,
        )
        for name, block, _ in blocks
    ]
    try:
        with torch.random.fork_rng(), torch.no_grad():
            model.eval()
            model(*example_inputs(model, example_input))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
    known: dict[Any, _Verdict] = {}
    for name, block, branches in blocks:
        if name in calls:
            _require(name, block, branches, *calls[name], known)


def _require(
    name: str,
    block: nn.Module,
    branches: tuple[Branch, ...],
    args: tuple,
    kwargs: dict,
    known: dict,
) -> None:
    key = (structure_of(block), branches, arguments_of(args, kwargs))
    if key not in known:
        known[key] = _aside(block, branches, *_rows_of(args, kwargs))
        for problem in known[key][1:]:
            warnings.warn(f'{name or "The model"}.{problem}; register a Branch.', stacklevel=2)
    problem = known[key][0]
    if problem is not None:
        raise UnknownBlockError(
            f'{name or "The model"} ({class_name(type(block))}): the branch is not what it is '
            f'registered as, {branches}: {problem}. Register it as it is, with start=None where '
            f"it cannot run on fewer rows, or use implementation='mask'."
        )


def _rows_of(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Three rows of what a block is given; made up where there are fewer."""
    rows = next((len(x) for x in tree_leaves(args) if isinstance(x, Tensor) and x.ndim), 0)

    def take(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        x = x.detach().clone()
        if not x.ndim or len(x) != rows:
            return x
        while len(x) < _ROWS:
            more = torch.randn_like(x) if x.is_floating_point() else x
            x = torch.cat((x, more))
        return x[:_ROWS]

    return tree_map(take, (args, kwargs))


def _aside(block: nn.Module, branches: tuple[Branch, ...], args: tuple, kwargs: dict) -> _Verdict:
    """The verdict, in a thread of its own.

    Neither autocast, nor a checkpoint around the block, nor what else holds for the thread that
    trains has to do with it.
    """
    verdict: list[_Verdict] = []
    devices = {x.device for x in tree_leaves(args) if isinstance(x, Tensor) and x.is_cuda}

    def judge() -> None:
        with torch.random.fork_rng(devices=list(devices)):
            verdict.append(_judge(block, branches, args, kwargs))

    thread = Thread(target=contextvars.copy_context().run, args=(judge,))
    thread.start()
    thread.join()
    return verdict[0] if verdict else (None,)


def _judge(block: nn.Module, branches: tuple[Branch, ...], args: tuple, kwargs: dict) -> _Verdict:
    try:
        trial = in_double(block).eval()
        double = as_double(args, kwargs)
        run(trial, *double)
    except Exception as error:  # it says nothing about the branches
        warnings.warn(
            f'{class_name(type(block))} cannot be run on three samples in float64 '
            f'({type(error).__name__}: {error}); its registered branches are taken on trust.',
            stacklevel=2,
        )
        return (None,)
    problem = disagreement(block, branches, args, kwargs) or _missed(trial, branches, *double)
    if problem is not None:
        return (problem,)
    left = left_over('', block, branches, args, kwargs, {})
    return (None, *(f'{path}: {sentence}' for path, sentence in left.items()))


def _missed(
    block: nn.Module, branches: tuple[Branch, ...], args: tuple, kwargs: dict
) -> str | None:
    """What subset and mask share, and is wrong all the same."""
    if nothing_is_left(block, branches, args, kwargs):
        return (
            'once it is dropped nothing of the stream is left, so that it is added to nothing: '
            'name the attribute that is None or False where the block has no shortcut '
            "(Branch(..., shortcut='...'))"
        )
    own = '' if any(branch.own_rate for branch in branches) else own_rate_of(block, args, kwargs)
    if own:
        return (
            f'it drops samples by itself, too, at the rate of its attribute {own!r}: add '
            f'own_rate={own!r} to its branches, which switches that off'
        )
    return None
