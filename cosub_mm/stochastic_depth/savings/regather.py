"""Kept rows that are gathered once more for backward, where the stream is saved anyway."""

import weakref

import torch
from torch import Tensor
from torch.autograd.graph import disable_saved_tensors_hooks, saved_tensors_hooks

from cosub_mm.stochastic_depth.rows.functional import gather_rows

__all__ = ['others_rule', 'regather_for_backward']


def regather_for_backward(x: Tensor, taken: Tensor, index: Tensor) -> saved_tensors_hooks | None:
    """Let what saves ``taken`` for backward save the stream and the rows' indices instead.

    It spares bytes only where autograd keeps the stream ``x`` anyway, as behind the ReLU that ends
    the blocks of ResNet and RegNet: masking saves that one tensor for the ReLU and for the next
    convolution, and the kept rows would be a second one.

    Args:
        x: the stream, (B, ...).
        taken: its kept rows, (computed, ...).
        index: their indices, int64 (computed,).

    Returns:
        What to enter before the branch's first module and to leave after it. None where nothing
        would be spared, or where other hooks rule what is saved: activation checkpointing,
        offloading.
    """
    if torch.compiler.is_compiling() or x.grad_fn is None:
        return None
    if x.grad_fn.name() != 'ReluBackward0' or others_rule():
        return None
    stream, version = x.detach(), x._version
    spared = weakref.ref(taken)  # autograd keeps pack, which must not keep the rows

    def pack(saved: Tensor) -> Tensor | None:
        return None if saved is spared() else saved

    def unpack(packed: Tensor | None) -> Tensor:
        if packed is not None:
            return packed
        if stream._version != version:
            raise RuntimeError(
                f'The stream of a residual block, {tuple(stream.shape)}, was changed in place '
                f'after a branch had started from it; backward needs it as it was.'
            )
        return gather_rows(stream, index)

    return saved_tensors_hooks(pack, unpack)


def others_rule() -> bool:
    """Whether hooks on saved tensors are there, or are forbidden."""
    try:
        with disable_saved_tensors_hooks('asked by stochastic depth'):  # raises beside others
            pass
        with saved_tensors_hooks(lambda x: x, lambda x: x):  # raises where they are forbidden
            return False
    except RuntimeError:
        return True
