"""Two losses of one step, of which the first gives its memory back before the second begins."""

from collections.abc import Iterable

import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.autograd import Function
from torch.nn import Parameter

__all__ = ['backward_now']

_told: set[str] = set()


def backward_now(loss: Tensor, parameters: Iterable[Parameter]) -> Tensor:
    """Run the backward pass of a loss at once, and let the step's own backward pass add its result.

    The graph of ``loss`` is freed here, so that a second forward pass finds its memory. What is
    returned has the value of ``loss``, and its backward pass the gradients that were computed,
    times what comes in (accumulation's share, a weight). Parameters get their gradients in the
    step's one backward pass: DistributedDataParallel synchronises once, and hooks see one gradient.

    Under float16 autocast the loss itself is returned, and its graph stays: a gradient computed
    without the scaler's factor underflows. bfloat16 needs no factor.

    Args:
        loss: a scalar.
        parameters: those that it may depend on; frozen ones are left alone.
    """
    trained = [p for p in parameters if p.requires_grad]
    if not trained or not loss.requires_grad:
        return loss
    if _is_float16(loss.device.type):
        _say_once(
            'float16: the activations of both passes are kept until one backward pass, whose '
            'gradients the loss scaler needs; --amp bf16 keeps those of one pass only.'
        )
        return loss
    gradients = torch.autograd.grad(loss, trained, allow_unused=True)
    return _Computed.apply(loss.detach(), list(gradients), *trained)


class _Computed(Function):
    """A loss whose gradients are known."""

    @staticmethod
    def forward(ctx, value: Tensor, gradients: list[Tensor | None], *parameters: Parameter):
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx, grad: Tensor):
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            raise RuntimeError('A loss of two passes can be differentiated once only.')
        known = [gradient for gradient in gradients if gradient is not None]
        torch._foreach_mul_(known, grad.to(known[0].dtype))
        return None, None, *gradients


def _is_float16(device_type: str) -> bool:
    return (
        torch.is_autocast_enabled(device_type)
        and torch.get_autocast_dtype(device_type) == torch.float16
    )


def _say_once(text: str) -> None:
    if text not in _told:
        _told.add(text)
        print_log(text, logger='current')
