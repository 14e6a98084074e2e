"""Whether two ways to run a module are the same: in float64, with weights made up for the purpose.

The answer depends neither on the precision that is trained in, nor on the weights of the moment,
nor on the process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

__all__ = ['close', 'float64_inputs', 'made_up_state', 'run', 'tensors_of', 'use_float64']


def use_float64(module: nn.Module) -> nn.Module:
    """Make ``module`` float64 throughout, in place, also where it makes float32 inputs itself.

    (The position encodings of XCiT and EdgeNeXt in mmpretrain, for instance.)
    """
    module.double()
    for part in module.modules():
        if _own_dtype(part) and _cast_inputs not in part._forward_pre_hooks.values():
            part.register_forward_pre_hook(_cast_inputs)
    return module


@contextmanager
def float64_inputs(module: nn.Module) -> Iterator[None]:
    """Let each part of ``module`` take its floating inputs in the dtype of its parameters."""
    handles = [
        part.register_forward_pre_hook(_cast_inputs)
        for part in module.modules()
        if _own_dtype(part)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def made_up_state(module: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Random parameters and the buffers, in ``dtype``, for torch.func.functional_call.

    Parameters share their memory: it takes a few times that of the largest one.
    """
    parameters = dict(module.named_parameters())
    numbers = max((p.numel() for p in parameters.values()), default=0)
    noise = torch.randn(numbers, generator=torch.Generator().manual_seed(0), dtype=dtype)
    scaled: dict[Any, Tensor] = {}
    state = {}
    for name, parameter in parameters.items():
        if not parameter.is_floating_point():
            continue
        inputs = parameter.numel() // max(len(parameter), 1) if parameter.ndim > 1 else 4
        power = round(torch.tensor(float(max(inputs, 1))).log2().item() / 2)
        key = (power, parameter.device)
        if key not in scaled:
            scaled[key] = (noise / 2**power).to(parameter.device)
        state[name] = scaled[key][: parameter.numel()].view(parameter.shape)
    for name, buffer in module.named_buffers():
        state[name] = buffer.to(dtype) if buffer.is_floating_point() else buffer.clone()
    return state


def run(module: nn.Module, args: tuple, kwargs: dict) -> list[Tensor]:
    """Outputs, then gradients of inputs and parameters, of a weighted sum of the outputs.

    The caller forks the generators; the modes are as the caller has set them.
    """
    leaves, spec = tree_flatten((args, kwargs))
    leaves = [
        x.clone().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x
        for x in leaves
    ]
    args, kwargs = tree_unflatten(leaves, spec)
    torch.manual_seed(1)
    outputs = tensors_of(module(*args, **kwargs))
    wanted = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
    wanted += list(module.parameters())
    total = sum((x * _weights_like(x)).sum() for x in outputs if x.requires_grad)
    # some blocks cache tensors of the graph (the attention biases of LeViT)
    grads = torch.autograd.grad(total, wanted, allow_unused=True, retain_graph=True)
    return [*outputs, *(x for x in grads if x is not None)]


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors in what a module returns."""
    return [x for x in tree_flatten(output)[0] if isinstance(x, Tensor)]


def close(left: list[Tensor], right: list[Tensor], tolerance: float = 1e-9) -> bool:
    """Whether two lists of tensors are equal up to rounding."""
    return len(left) == len(right) and all(
        a.shape == b.shape and bool((a - b).abs().max() <= tolerance * (1 + a.abs().max()))
        for a, b in zip(left, right)
        if a.numel()
    )


def _own_dtype(part: nn.Module) -> torch.dtype | None:
    for parameter in part.parameters(recurse=False):  # torch 2.6 compiles no next() with a default
        if parameter.is_floating_point():
            return parameter.dtype
    return None


def _cast_inputs(part: nn.Module, args: tuple) -> tuple:
    dtype = _own_dtype(part)
    is_float = [isinstance(x, Tensor) and x.is_floating_point() for x in args]
    return tuple(x.to(dtype) if yes else x for x, yes in zip(args, is_float))


def _weights_like(x: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)
