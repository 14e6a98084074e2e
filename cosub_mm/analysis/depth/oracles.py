"""Two judges of stochastic depth that ask nothing of ours: the shortcut alone, and FLOPs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

from cosub_mm.stochastic_depth import (
    Report,
    StochasticDepth,
    apply_stochastic_depth,
    remove_stochastic_depth,
)
from cosub_mm.stochastic_depth.places.table import branches_of
from cosub_mm.stochastic_depth.search.residuals import left_over

__all__ = ['Shortcuts', 'block_flops_share', 'half_covered', 'shortcuts_alone']

_ALL = 0.9999


@dataclass(frozen=True)
class Shortcuts:
    """What blocks do when all their rows are dropped.

    Attributes:
        blocks: how many there are.
        identities: how many hand on exactly what they are given.
        right: in every other one, whose shortcut is projected or whose sum is normed, the modules
            where branches start and end get no gradient.
    """

    blocks: int
    identities: int
    right: bool


def shortcuts_alone(model: nn.Module, x: Tensor, **options) -> Shortcuts:
    """Drop all rows of every branch and look at what is left.

    Args:
        model: float64, without stochastic depth.
        x: its input, (N, ...).
        **options: for ``apply_stochastic_depth``.
    """
    report = apply_stochastic_depth(model, _ALL, implementation='subset', **options)
    _only_ends_train(model)
    same: dict[str, bool] = {}

    def compare(name: str):
        def hook(block: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
            given, out = (*args, *kwargs.values())[0], tree_flatten(output)[0][0]
            same[name] = given.shape == out.shape and torch.equal(given, out)

        return hook

    handles = [
        model.get_submodule(name).register_forward_hook(compare(name), with_kwargs=True)
        for name in {branch.block for branch in report.blocks}
    ]
    model.zero_grad()
    torch.manual_seed(1)
    _total(model(x)).backward()
    for handle in handles:
        handle.remove()
    right = all(
        same.get(branch.block, True) or not _has_gradient(model, branch) for branch in report.blocks
    )
    model.zero_grad()
    remove_stochastic_depth(model)
    return Shortcuts(len(same), sum(same.values()), right)


def block_flops_share(model: nn.Module, x: Tensor, **options) -> float:
    """FLOPs of the blocks in a training step at a rate of .5, over those of a step without drop."""
    report = apply_stochastic_depth(model, 0.5, implementation='subset', **options)
    names = {branch.block for branch in report.blocks}
    counts = []
    for train in (False, True):
        model.eval()
        if train:
            _only_ends_train(model)
        torch.manual_seed(1)
        with FlopCounterMode(display=False) as counter:
            _total(model(x.clone().requires_grad_())).backward()
        by_module = counter.get_flop_counts()
        root = type(model).__name__
        keys = [f'{root}.{name}' if name else root for name in names]
        counts.append(sum(sum(by_module.get(key, {}).values()) for key in keys))
    model.zero_grad()
    remove_stochastic_depth(model)
    return counts[1] / counts[0] if counts[0] else float('nan')


def half_covered(model: nn.Module, x: Tensor, report: Report) -> list[str]:
    """Residual additions in blocks of the table that none of their branches covers."""
    calls: dict[str, tuple[tuple, dict]] = {}
    named = {b.block for b in report.blocks if not b.found}
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda block, args, kwargs, name=name: calls.setdefault(name, (args, kwargs)) and None,
            with_kwargs=True,
        )
        for name in named
    ]
    model.eval()
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    known: dict = {}
    left: dict[str, str] = {}
    for name, (args, kwargs) in calls.items():
        block = model.get_submodule(name)
        left |= left_over(name, block, branches_of(block) or (), args, kwargs, known)
    return [*left, *(name for name, why in report.skipped.items() if 'no branch covers' in why)]


def _has_gradient(model: nn.Module, branch) -> bool:
    block = model.get_submodule(branch.block)
    modules = dict(block.named_modules())
    return any(
        parameter.grad is not None and bool(parameter.grad.any())
        for path in (branch.start, branch.end)
        for parameter in (modules[path].parameters() if path in modules else ())
    )


def _only_ends_train(model: nn.Module) -> None:
    model.eval()
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.training = True


def _total(output: object) -> Tensor:
    tensors = [t for t in tree_flatten(output)[0] if isinstance(t, Tensor)]
    return sum(t.sum() for t in tensors if t.requires_grad)
