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
    'draw_rows',
    'kept_count',
    'mask_rows',
    'put_rows',
    'take_rows',
    'weigh',
]

STATIC_FROM = 64
"""From this many rows on, every step computes the same number of them (see draw_rows)."""

_WHOLE = 1e-6  # an expected count this near to an integer is one: 20 * (1 - .45) is 11


class Rows(NamedTuple):
    """The rows that one branch computes in one step.

    Attributes:
        index: int64 (computed,), distinct rows in random order.
        weight: (computed,) with 1 for kept rows and 0 for a row that is computed and thrown away,
            or None when all of them are kept.
        scale: what the residual is multiplied by, 1 / (1 - rate).
    """

    index: Tensor
    weight: Tensor | None
    scale: float


def kept_count(batch: int, rate: float) -> tuple[int, float]:
    """Split the expected number of kept rows, ``batch * (1 - rate)``.

    Returns:
        Its whole part, and the probability that one row more is kept.
    """
    expected = batch * (1 - rate)
    nearest = round(expected)
    if abs(expected - nearest) < _WHOLE * batch:
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

    A row that is computed and not kept gets weight 0.

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
    order = torch.randperm(batch, device=device)
    if not fraction:
        return Rows(order[:whole], None, scale)
    if torch.compiler.is_compiling():  # the coin stays in the graph
        extra = (torch.rand(1, device=device) < fraction).to(torch.float32)
        weight = torch.cat((torch.ones(whole, device=device), extra))
        return Rows(order[: whole + 1], weight, scale)
    kept = whole + int(torch.rand((), device='cpu').item() < fraction)
    computed = whole + 1 if batch >= STATIC_FROM else max(kept, 1)
    if kept == computed:
        return Rows(order[:kept], None, scale)
    weight = torch.ones(computed, device=device)
    weight[-1] = 0
    return Rows(order[:computed], weight, scale)


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` of ``x``: (B, ...) -> (len(index), ...), in the memory format of ``x``."""
    # Dynamo traces these Functions to zero gradients; AOTAutograd saves only indices by itself.
    return _select(x, index) if torch.compiler.is_compiling() else _Take.apply(x, index)


def put_rows(rows: Tensor, index: Tensor, batch: int) -> Tensor:
    """Zeros of ``batch`` rows with ``rows`` at ``index``, in the memory format of ``rows``."""
    if torch.compiler.is_compiling():
        return rows.new_zeros((batch, *rows.shape[1:])).index_copy(0, index, rows)
    return _Put.apply(rows, index, batch)


def weigh(residual: Tensor, rows: Rows) -> Tensor:
    """Multiply the computed rows of a residual by their scale, and discarded ones by 0."""
    if rows.weight is None:
        return residual if rows.scale == 1 else residual * rows.scale
    return residual * _column(rows.weight.to(residual.dtype) * rows.scale, residual)


def mask_rows(residual: Tensor, rows: Rows) -> Tensor:
    """The reference: a residual of all B rows, scaled where it is kept and 0 where it is not."""
    weight = residual.new_ones(len(rows.index)) if rows.weight is None else rows.weight
    mask = residual.new_zeros(len(residual))
    mask = mask.index_copy(0, rows.index, weight.to(mask.dtype) * rows.scale)
    return residual * _column(mask, residual)


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _is_channels_last(x: Tensor) -> bool:
    return (
        x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    )


def _empty(x: Tensor, batch: int) -> Tensor:
    """Uninitialised (batch, *x.shape[1:]) in channels_last, and no view of another tensor."""
    channels, height, width = x.shape[1:]
    shape = (batch, channels, height, width)
    return x.new_empty_strided(shape, (channels * height * width, 1, width * channels, channels))


def _select(x: Tensor, index: Tensor) -> Tensor:
    if torch.compiler.is_compiling() or not _is_channels_last(x):
        return x.index_select(0, index)
    out = _empty(x, len(index))  # index_select itself would return the default format
    torch.index_select(x.permute(0, 2, 3, 1), 0, index, out=out.permute(0, 2, 3, 1))
    return out


def _scatter(rows: Tensor, index: Tensor, batch: int) -> Tensor:
    if not _is_channels_last(rows):
        return rows.new_zeros((batch, *rows.shape[1:])).index_copy_(0, index, rows)
    out = _empty(rows, batch).zero_()
    out.permute(0, 2, 3, 1).index_copy_(0, index, rows.permute(0, 2, 3, 1))
    return out


class _Take(torch.autograd.Function):
    """Gather that saves nothing but the indices. Its derivative is _Put, whose own is _Take."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.batch = len(x)
        return _select(x, index)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _Put.apply(grad, index, ctx.batch), None


class _Put(torch.autograd.Function):
    """Scatter into zeros. torch's index_add would keep its whole source for backward."""

    @staticmethod
    def forward(ctx, rows: Tensor, index: Tensor, batch: int) -> Tensor:
        ctx.save_for_backward(index)
        return _scatter(rows, index, batch)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return _Take.apply(grad, index), None, None
