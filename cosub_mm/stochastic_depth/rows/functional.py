"""Which rows a residual branch sees, and how they leave and rejoin the stream.

A *row* is one sample of the batch: index 0 of a tensor's first dimension. The paper (section 4,
figure 3) draws a permutation of the rows, runs the branch on the first of them and adds the result
back. :func:`mask_rows` is the plain reference: the branch runs on all rows, and dropped ones are
multiplied by zero. Given the same :class:`Rows` the two agree.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    'STATIC_FROM',
    'Rows',
    'add_rows',
    'draw_rows',
    'gather_rows',
    'kept_count',
    'mask_rows',
    'put_rows',
    'take_rows',
]

STATIC_FROM = 64
"""From this many rows on, every step computes the same number of them (see draw_rows)."""

_WHOLE = 1e-6  # an expected count this near to an integer is one: 20 * (1 - .45) is 11


class Rows(NamedTuple):
    """The rows that one branch computes in one step.

    Attributes:
        index: int64 (computed,), distinct rows in random order. The first ``kept`` of them are
            kept, the rest, one at most, is computed and thrown away.
        kept: how many are kept for certain.
        coin: (1,), under torch.compile 1 or 0 for whether the last row is kept too, or None.
        scale: what the residual is multiplied by, 1 / (1 - rate).
        batch: rows of the stream.
    """

    index: Tensor
    kept: int
    coin: Tensor | None
    scale: float
    batch: int


def kept_count(batch: int, rate: float) -> tuple[int, float]:
    """Split the expected number of kept rows, ``batch * (1 - rate)``.

    Returns:
        Its whole part, and the probability that one row more is kept.
    """
    expected = batch * (1 - rate)
    nearest = round(expected)
    if nearest and abs(expected - nearest) < _WHOLE * batch:
        return nearest, 0.0
    whole = math.floor(expected)
    return whole, expected - whole


def draw_rows(
    batch: int, rate: float, device: torch.device | str, scale_by_keep: bool = True
) -> Rows:
    """Draw the rows to keep, each with probability exactly ``1 - rate``.

    The kept count is ``batch * (1 - rate)`` where that is whole. Otherwise it is the integer
    below or above, at random, so that its mean is exact; rounding (paper, section 4) would turn a
    rate of .1 into 0 for 2 rows. What is *computed* may be one row more than what is kept:

    - with fewer than ``STATIC_FROM`` rows, outside torch.compile: the kept rows, but never none,
      because many modules fail on an empty batch and DDP wants a gradient of every parameter;
    - from ``STATIC_FROM`` rows on, and always under torch.compile: the count rounded up, the same
      in each step. Shapes stay static, at the price of less than one row.

    Args:
        batch: number of rows, at least 1.
        rate: drop rate in [0, 1).
        device: where the indices are needed.
        scale_by_keep: divide the residual by the keep probability, which keeps its expectation.

    Returns:
        The rows. Random numbers come from torch's global generators, so that ``manual_seed`` rules
        them and activation checkpointing repeats them.
    """
    whole, fraction = kept_count(batch, rate)
    scale = 1 / (1 - rate) if scale_by_keep else 1.0
    if torch.compiler.is_compiling():
        # One random operation a branch: inductor may run two in either order, and then mask and
        # subset would keep other rows. The coin stays in the graph.
        numbers = torch.rand(batch + 1, device=device, dtype=torch.float32)
        order = numbers[:batch].argsort()
        if not fraction:
            return Rows(order[:whole], whole, None, scale, batch)
        coin = (numbers[batch:] < fraction).to(torch.float32)
        return Rows(order[: whole + 1], whole, coin, scale, batch)
    order = torch.randperm(batch, device=device)
    if not fraction:
        return Rows(order[:whole], whole, None, scale, batch)
    kept = whole + int(torch.rand((), device='cpu').item() < fraction)
    computed = whole + 1 if batch >= STATIC_FROM else max(kept, 1)
    return Rows(order[:computed], kept, None, scale, batch)


def take_rows(x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Rows of the stream ``x``, (B, ...) -> (computed, ...), in its memory format.

    Returns:
        The rows, and ``x`` once more: what is added to that one by :func:`add_rows` brings its
        gradient together with the gradient of the rows in one pass instead of three.
    """
    if torch.compiler.is_compiling():
        # Dynamo traces the Functions to zero gradients; AOTAutograd saves only indices by itself.
        return x.index_select(0, rows.index), x
    return _Take.apply(x, rows.index, len(rows.index), 1.0)


def add_rows(stream: Tensor, residual: Tensor, rows: Rows) -> Tensor:
    """``stream`` (B, ...) plus the scaled ``residual`` (computed, ...) in its kept rows.

    The same as ``stream + put_rows(residual, rows)``; for backward it saves only the indices, where
    torch's ``index_add`` keeps its whole source. Not for torch.compile, nor for its ``coin``.
    """
    return _Add.apply(stream, residual, rows.index, rows.kept, rows.scale)


def put_rows(residual: Tensor, rows: Rows) -> Tensor:
    """Zeros (B, ...) with the scaled ``residual`` (computed, ...) in its kept rows."""
    if torch.compiler.is_compiling() or rows.coin is not None:
        weight = _weights(rows, residual)
        zeros = residual.new_zeros((rows.batch, *residual.shape[1:]))
        return zeros.index_copy(0, rows.index, residual * _column(weight, residual))
    return _Put.apply(residual, rows.index, rows.kept, rows.scale, rows.batch)


def mask_rows(residual: Tensor, rows: Rows) -> Tensor:
    """The reference: a residual of all B rows, scaled where it is kept and 0 where it is not."""
    mask = residual.new_zeros(len(residual))
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


def _empty(x: Tensor, batch: int) -> Tensor:
    """Uninitialised (batch, *x.shape[1:]) in the memory format of ``x``, no view of another."""
    shape = (batch, *x.shape[1:])
    if not _is_channels_last(x):
        return x.new_empty(shape)
    _, channels, height, width = shape
    return x.new_empty_strided(shape, (channels * height * width, 1, width * channels, channels))


def gather_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows of x, (B, ...) -> (computed, ...), in its memory format; without gradient."""
    if not _is_channels_last(x):
        return x.index_select(0, index)
    out = _empty(x, len(index))  # index_select itself would return the default format
    torch.index_select(x.permute(0, 2, 3, 1), 0, index, out=out.permute(0, 2, 3, 1))
    return out


def _add_in_place(x: Tensor, rows: Tensor, index: Tensor, kept: int, scale: float) -> Tensor:
    target, source = x, rows[:kept].to(x.dtype)
    if _is_channels_last(x):  # the kernels are fast in the order of the memory
        target, source = target.permute(0, 2, 3, 1), source.permute(0, 2, 3, 1)
    target.index_add_(0, index[:kept], source, alpha=scale)
    return x


class _Take(torch.autograd.Function):
    """Scaled rows of x, and x: the adjoint of _Add."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, kept: int, scale: float) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(index)
        ctx.arguments = kept, scale, len(x)
        ctx.set_materialize_grads(False)
        rows = gather_rows(x, index)
        if scale != 1:
            rows.mul_(scale)
        if kept < len(index):
            rows[kept:] = 0
        return rows, x

    @staticmethod
    def backward(ctx, rows: Tensor | None, stream: Tensor | None):
        (index,) = ctx.saved_tensors
        kept, scale, batch = ctx.arguments
        if rows is None:
            return stream, None, None, None
        if stream is None:
            return _Put.apply(rows, index, kept, scale, batch), None, None, None
        return _Add.apply(stream, rows, index, kept, scale), None, None, None


class _Add(torch.autograd.Function):
    """A stream plus scaled rows: the adjoint of _Take."""

    @staticmethod
    def forward(ctx, stream: Tensor, rows: Tensor, index: Tensor, kept: int, scale: float):
        ctx.save_for_backward(index)
        ctx.arguments = kept, scale
        dtype = torch.promote_types(stream.dtype, rows.dtype)  # as in a sum of the two
        return _add_in_place(stream.to(dtype, copy=True), rows, index, kept, scale)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        rows = _Take.apply(grad, index, *ctx.arguments)[0] if ctx.needs_input_grad[1] else None
        return grad, rows, None, None, None


class _Put(torch.autograd.Function):
    """Scaled rows among zeros."""

    @staticmethod
    def forward(ctx, rows: Tensor, index: Tensor, kept: int, scale: float, batch: int) -> Tensor:
        ctx.save_for_backward(index)
        ctx.arguments = kept, scale
        return _add_in_place(_empty(rows, batch).zero_(), rows, index, kept, scale)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        return _Take.apply(grad, index, *ctx.arguments)[0], None, None, None, None
