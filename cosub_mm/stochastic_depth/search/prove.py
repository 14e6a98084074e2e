"""Prove that subset and mask are the same for a block: float64, outputs and all gradients."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from ..places.attach import attach
from ..places.table import Branch

__all__ = ['disagreement', 'use_float64']

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
        trial = _in_double(block)
        args, kwargs = tree_map(_as_double, (args, kwargs))
        plain = _run(trial, args, kwargs)
        ends = {attach(trial, branch, _RATE, 'mask') for branch in branches}
        mask = _run(trial, args, kwargs, ends)
        for end in ends:
            end.implementation = 'subset'
        subset = _run(trial, args, kwargs, ends)
        if not _close(mask, subset):
            return 'rows of the branch mix with other rows (subset and mask differ)'
        if _close(mask[:1], plain[:1]):
            return 'dropping rows changes nothing'
        trial.train()
        trial(*args, **kwargs)
    except Exception as error:  # whatever a foreign block raises says that the branch is wrong
        return f'{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
    return None


def use_float64(module: nn.Module) -> nn.Module:
    """Make ``module`` float64 throughout, in place, also where it makes float32 inputs itself.

    (The position encodings of XCiT and EdgeNeXt in mmpretrain, for instance.)
    """
    module.double()
    for part in module.modules():
        if _own_dtype(part) and _cast_inputs not in part._forward_pre_hooks.values():
            part.register_forward_pre_hook(_cast_inputs)
    return module


def _own_dtype(part: nn.Module) -> torch.dtype | None:
    dtypes = [p.dtype for p in part._parameters.values() if p is not None and p.is_floating_point()]
    return dtypes[0] if dtypes else None


def _cast_inputs(part: nn.Module, args: tuple) -> tuple:
    dtype = _own_dtype(part)
    is_float = [isinstance(x, Tensor) and x.is_floating_point() for x in args]
    return tuple(x.to(dtype) if yes else x for x, yes in zip(args, is_float))


def _in_double(block: nn.Module) -> nn.Module:
    trial = use_float64(copy.deepcopy(block)).requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in trial.parameters():  # a layer scale or last norm of 0 would hide all
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise * 0.3)
    return trial


def _as_double(x: Any) -> Any:
    if isinstance(x, Tensor) and x.is_floating_point():
        return x.double()
    return x


def _run(trial: nn.Module, args: tuple, kwargs: dict, ends: set = frozenset()) -> list[Tensor]:
    """Outputs, then gradients of inputs and parameters, with dropout and batch statistics off."""
    trial.eval()
    for end in ends:
        end.training = True
    leaves, spec = tree_flatten((args, kwargs))
    leaves = [
        x.clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in leaves
    ]
    args, kwargs = torch.utils._pytree.tree_unflatten(leaves, spec)
    torch.manual_seed(1)  # the caller forks the generators
    outputs = [x for x in tree_flatten(trial(*args, **kwargs))[0] if isinstance(x, Tensor)]
    wanted = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
    wanted += list(trial.parameters())
    total = sum((x * _weights_like(x)).sum() for x in outputs if x.requires_grad)
    # some blocks cache tensors of the graph (the attention biases of LeViT)
    grads = torch.autograd.grad(total, wanted, allow_unused=True, retain_graph=True)
    return [*outputs, *(x for x in grads if x is not None)]


def _weights_like(x: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)


def _close(left: list[Tensor], right: list[Tensor]) -> bool:
    return len(left) == len(right) and all(
        a.shape == b.shape and bool((a - b).abs().max() <= 1e-9 * (1 + a.abs().max()))
        for a, b in zip(left, right)
        if a.numel()
    )
