"""A residual that is put back among its stream's rows only when something is done with it."""

from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ..rows.functional import Rows, add_rows, put_rows

__all__ = ['PendingResidual', 'Stream']


class Stream:
    """The stream where a branch starts.

    Args:
        x: the tensor that the block holds, (B, ...).
        joint: the second result of :func:`~cosub_mm.stochastic_depth.functional.take_rows`.
    """

    def __init__(self, x: Tensor, joint: Tensor) -> None:
        self.x, self.joint, self.version = x, joint, x._version

    def of(self, other: Tensor) -> Tensor:
        """``other``, or the joint tensor if ``other`` is still what the branch started from."""
        return self.joint if other is self.x and other._version == self.version else other


class PendingResidual(Tensor):
    """Stands for the dense residual (B, ...), which a sum with the stream never needs.

    ``stream + residual`` adds the kept rows to a copy of the stream: one pass over all rows, where
    zeros, a scatter and a sum are three. Whatever else is done with it by torch's functions happens
    to the dense residual, which is made then.
    """

    @staticmethod
    def __new__(cls, computed: Tensor, rows: Rows, stream: Stream) -> 'PendingResidual':
        """Residual of the computed rows, where they belong, and what they were taken from."""
        sizes = (rows.batch, *computed.shape[1:])
        self = Tensor._make_wrapper_subclass(
            cls, sizes, dtype=computed.dtype, device=computed.device, requires_grad=True
        )
        with torch._C.DisableTorchFunctionSubclass():
            self.register_hook(_refuse)
        self.computed, self.rows, self.stream = computed, rows, stream
        self.sizes = sizes  # its shape, without asking torch
        self.made: Tensor | None = None
        return self

    def dense(self) -> Tensor:
        """The residual itself, made once."""
        if self.made is None:
            with torch.enable_grad():  # a look at it must not detach the branch
                self.made = put_rows(self.computed, self.rows)
        return self.made

    def plus(self, other: Any) -> Tensor | None:
        """The sum with ``other``, or None where that needs the dense residual."""
        if self.made is not None or not isinstance(other, Tensor):
            return None
        if isinstance(other, PendingResidual) or other.shape != self.sizes:
            return None
        return add_rows(self.stream.of(other), self.computed, self.rows)

    @classmethod
    def __torch_function__(cls, func, types, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Add the kept rows alone where ``func`` adds two tensors, and otherwise all rows."""
        if func in _SUMS and len(args) == 2 and not kwargs:
            left, right = args
            if isinstance(left, PendingResidual):
                result = left.plus(right)
                if func is Tensor.add_ and result is not None:
                    left.made = result
            else:
                result = right.plus(left) if func is not Tensor.add_ else None
            if result is not None:
                return result
        args, kwargs = tree_map(_as_dense, (args, kwargs or {}))
        return func(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(cls, func, types, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Refuse what does not pass by torch's functions."""
        _refuse(func)


_SUMS = (torch.add, Tensor.add, Tensor.add_)


def _refuse(cause: Any) -> NoReturn:
    """Neither an autograd.Function nor C++ sees the rows behind the residual."""
    raise RuntimeError(
        'The residual of a stochastic branch was handed to an autograd.Function before it was '
        'added to its stream, and its gradient would be lost. Use '
        "implementation='mask' for this model."
    )


def _as_dense(x: Any) -> Any:
    return x.dense() if isinstance(x, PendingResidual) else x
