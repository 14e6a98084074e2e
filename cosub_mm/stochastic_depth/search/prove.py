"""Prove that subset and mask are the same for a block: float64, outputs and all gradients."""

import copy

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from cosub_mm.stochastic_depth.places.attach import attach, detach_all
from cosub_mm.stochastic_depth.places.table import Branch
from cosub_mm.stochastic_depth.step.compare import close, run, use_float64

__all__ = ['as_double', 'disagreement', 'in_double']

_RATE = 1 / 3  # two of the three rows of an example stay: neither all rows nor a divisor of them


def disagreement(
    block: nn.Module, branches: tuple[Branch, ...], args: tuple, kwargs: dict
) -> str | None:
    """Compare subset with mask on a copy of ``block``, with the same rows and random weights.

    Args:
        block: the block; it stays as it is.
        branches: the residual branches to try.
        args: what the block is called with, batch first; tensors without history.
        kwargs: the same, by name.

    Returns:
        None if outputs, input gradients and parameter gradients agree in float64, and the rows
        make a difference at all; otherwise what went wrong, in words.
    """
    try:
        trial = in_double(block)
        args, kwargs = _tell_rows_apart(*as_double(args, kwargs))
        plain = run(trial.eval(), args, kwargs)
        mask = _run(trial, branches, 'mask', args, kwargs)
        subset = _run(trial, branches, 'subset', args, kwargs)
        if not close(mask, subset):
            return 'rows of the branch mix with other rows (subset and mask differ)'
        if close(mask[:1], plain[:1]):
            return 'dropping rows changes nothing'
        trial.train()
        trial(*args, **kwargs)
    except Exception as error:  # whatever a foreign block raises says that the branch is wrong
        return f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
    return None


def _run(
    trial: nn.Module, branches: tuple[Branch, ...], implementation: str, args: tuple, kwargs: dict
) -> list[Tensor]:
    """Outputs and gradients with stochastic branches, dropout and batch statistics off."""
    detach_all(trial)
    trial.eval()
    for end in attach(trial, [(branch, _RATE) for branch in branches], implementation):
        end.train()
    return run(trial, args, kwargs)


def in_double(block: nn.Module) -> nn.Module:
    """A copy of ``block`` in float64, with random weights."""
    trial = use_float64(copy.deepcopy(block)).requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trial.parameters():  # a layer scale or last norm of 0 would hide all
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * 0.3)
    return trial


def _tell_rows_apart(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The same with noise on a stream of equal rows, as an example of zeros or one sample has them.

    What mixes equal rows would pass for what does not.
    """
    leaves = tree_leaves((args, kwargs))
    floats = [x for x in leaves if isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 1]
    x = next(iter(floats), None)
    if x is None or not bool((x[1:] == x[:1]).flatten(1).all(1).any()):
        return args, kwargs
    apart = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(3)).to(x)
    return tree_map(lambda y: apart if y is x else y, (args, kwargs))


def as_double(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """What a block is called with, its floating tensors in float64."""
    return tree_map(
        lambda x: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x,
        (args, kwargs),
    )
