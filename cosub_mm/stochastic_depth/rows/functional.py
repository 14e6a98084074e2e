"""How rows leave the stream and rejoin it.

:func:`mask_rows` is the plain reference: the branch runs on all rows, and dropped ones are
multiplied by zero. Given the same :class:`~cosub_mm.stochastic_depth.rows.draw.Rows` gather and put
agree with it. Where torch is to be deterministic (``torch.use_deterministic_algorithms``) nothing
is written by index, which on CUDA would sort the indices each time: both ways are gathers.
"""

import torch
from torch import Tensor

from .draw import Rows

__all__ = [
    'gather_rows',
    'mask_rows',
    'put_rows',
    'put_rows_eagerly',
    'take_rows',
    'take_rows_eagerly',
]

_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
# torch.are_deterministic_algorithms_enabled is a Python function around it, and asked each step.
_is_transformed = torch._C._are_functorch_transforms_active  # by torch.func
_is_deterministic = torch._C._get_deterministic_algorithms


def take_rows(x: Tensor, rows: Rows) -> Tensor:
    """Rows of the stream ``x``, (B, ...) -> (computed, ...), in its memory format."""
    if _is_compiling():
        return x.index_select(0, rows.index)  # for backward it saves the indices only
    return take_rows_eagerly(x, rows)


def take_rows_eagerly(x: Tensor, rows: Rows) -> Tensor:
    """The same, known to be outside torch.compile."""
    if _is_deterministic() or (x.ndim == 4 and _is_channels_last(x)):
        return _take(x, rows.index)
    return x.index_select(0, rows.index)


def put_rows(residual: Tensor, rows: Rows) -> Tensor:
    """Zeros (B, ...) with the scaled ``residual`` (computed, ...) in its kept rows.

    For backward it saves the indices only, where torch's ``index_add`` keeps its whole source.
    """
    if rows.coin is None and not _is_compiling():
        return put_rows_eagerly(residual, rows)
    # Dynamo traces the Function to zero gradients; AOTAutograd saves only indices by itself.
    weight = _weights(rows, residual)
    zeros = residual.new_zeros((rows.batch, *residual.shape[1:]))
    return zeros.index_copy(0, rows.index, residual * _column(weight, residual))


def put_rows_eagerly(residual: Tensor, rows: Rows) -> Tensor:
    """The same, known to be outside torch.compile."""
    return (_put_transformed if _is_transformed() else _put)(residual, rows)


def mask_rows(residual: Tensor, rows: Rows) -> Tensor:
    """The reference: a residual of all B rows, scaled where it is kept and 0 where it is not."""
    mask = residual.new_zeros(rows.batch)
    if rows.coin is None:
        mask.index_fill_(0, rows.index[: rows.kept], rows.scale)
    else:
        mask = mask.index_copy(0, rows.index, _weights(rows, residual))
    return residual * _column(mask, residual)


def _weights(rows: Rows, like: Tensor) -> Tensor:
    """What each computed row of the residual is multiplied by, (computed,)."""
    kept = like.new_full((rows.kept,), rows.scale)
    rest = len(rows.index) - rows.kept
    if not rest:
        return kept
    last = like.new_zeros(rest) if rows.coin is None else rows.coin.to(like.dtype) * rows.scale
    return torch.cat((kept, last))


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _is_channels_last(x: Tensor) -> bool:
    return (
        x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    )


def _empty_channels_last(x: Tensor, batch: int) -> Tensor:
    """Uninitialised (batch, *x.shape[1:]) in that format; no view, which could not be changed."""
    _, channels, height, width = x.shape
    strides = (channels * height * width, 1, width * channels, channels)
    return x.new_empty_strided((batch, channels, height, width), strides)


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x, (B, ...) -> (computed, ...), in its memory format; without gradient."""
    if x.ndim != 4 or not _is_channels_last(x):
        return x.index_select(0, index)
    out = _empty_channels_last(x, len(index))  # index_select itself returns the default format
    torch.index_select(x.permute(0, 2, 3, 1), 0, index, out=out.permute(0, 2, 3, 1))
    return out


def _spread(residual: Tensor, index: Tensor, scale: float, batch: int) -> Tensor:
    """Zeros (batch, ...) with the scaled ``residual`` at ``index``, by a gather of all rows."""
    here = index == torch.arange(batch, device=index.device).unsqueeze(1)
    out = gather_rows(residual, here.to(torch.uint8).argmax(1))
    out.masked_fill_(_column(~here.any(1), out), 0)
    return out if scale == 1 else out.mul_(scale)


def _among_zeros(residual: Tensor, rows: Rows) -> Tensor:
    index, kept, _, scale, batch = rows
    if kept < index.shape[0]:
        index, residual = index[:kept], residual[:kept]
    if kept and _is_deterministic():
        return _spread(residual, index, scale, batch)
    shape = residual.shape
    if len(shape) == 4 and _is_channels_last(residual):
        out = _empty_channels_last(residual, batch).zero_()
        inner, residual = out.permute(0, 2, 3, 1), residual.permute(0, 2, 3, 1)  # is faster
        inner.index_add_(0, index, residual, alpha=scale)
        return out
    out = residual.new_zeros((batch, *shape[1:]))
    return out.index_add_(0, index, residual, alpha=scale)


class _Put(torch.autograd.Function):
    """Scaled rows among zeros."""

    @staticmethod
    def forward(ctx, residual: Tensor, rows: Rows) -> Tensor:
        ctx.rows = rows
        index, kept, _, scale, batch = rows
        shape = residual.shape
        if kept != shape[0] or len(shape) == 4 or _is_deterministic():
            return _among_zeros(residual, rows)
        # What most branches need, without the questions of the others: it is done in each step.
        return residual.new_zeros((batch, *shape[1:])).index_add_(0, index, residual, alpha=scale)

    @staticmethod
    def backward(ctx, grad: Tensor):
        index, kept, _, scale, _ = rows = ctx.rows
        if _is_grad_enabled():  # it is differentiated a second time
            return take_rows(grad, rows) * _column(_weights(rows, grad), grad), None
        out = grad.index_select(0, index) if grad.ndim != 4 else gather_rows(grad, index)
        if scale != 1:
            out.mul_(scale)
        if kept < index.shape[0]:
            out[kept].zero_()
        return out, None


class _PutTransformed(_Put):
    """The same under torch.func, for which torch reads the signature of forward in each call."""

    @staticmethod
    def forward(residual: Tensor, rows: Rows) -> Tensor:
        return _among_zeros(residual, rows)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        ctx.rows = inputs[1]


class _Take(torch.autograd.Function):
    """Rows in the memory format of x, whose gradient is put back without an order to depend on."""

    @staticmethod
    def forward(x: Tensor, index: Tensor) -> Tensor:
        return gather_rows(x, index)

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, index = inputs
        ctx.save_for_backward(index)
        ctx.batch = x.shape[0]

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        return put_rows(grad, Rows(index, index.shape[0], None, 1.0, ctx.batch)), None


# Function.apply first asks whether torch.func is at work, which put_rows_eagerly has done.
_put = super(torch.autograd.Function, _Put).apply
_put_transformed, _take = _PutTransformed.apply, _Take.apply  # found once
