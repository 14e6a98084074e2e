"""Which rows a residual branch sees, and how they leave and rejoin the stream.

A *row* is one sample of the batch: index 0 of a tensor's first dimension. The paper (section 4,
figure 3) draws a permutation of the rows, runs the branch on the first of them and adds the result
back. :func:`mask_rows` is the plain reference: the branch runs on all rows, and dropped ones are
multiplied by zero. Given the same :class:`Rows` the two agree.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    'STATIC_FROM',
    'Rows',
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


_CPU = torch.device('cpu')
_count = lru_cache(kept_count)  # the same two numbers in each step; not for torch.compile


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
    scale = 1 / (1 - rate) if scale_by_keep else 1.0
    if torch.compiler.is_compiling():
        # One random operation a branch: inductor may run two in either order, and then mask and
        # subset would keep other rows. The coin stays in the graph.
        whole, fraction = kept_count(batch, rate)
        numbers = torch.rand(batch + 1, device=device, dtype=torch.float32)
        order = numbers[:batch].argsort()
        if not fraction:
            return Rows(order[:whole], whole, None, scale, batch)
        coin = (numbers[batch:] < fraction).to(torch.float32)
        return Rows(order[: whole + 1], whole, coin, scale, batch)
    whole, fraction = _count(batch, rate)
    order = torch.randperm(batch, device=device)
    if not fraction:
        return Rows(order[:whole], whole, None, scale, batch)
    kept = whole + (torch.rand(1, device=_CPU).item() < fraction)
    computed = whole + 1 if batch >= STATIC_FROM else max(kept, 1)
    return Rows(order[:computed], kept, None, scale, batch)


def take_rows(x: Tensor, rows: Rows) -> Tensor:
    """Rows of the stream ``x``, (B, ...) -> (computed, ...), in its memory format."""
    if x.ndim == 4 and not torch.compiler.is_compiling() and _is_channels_last(x):
        return _TakeChannelsLast.apply(x, rows.index)
    return x.index_select(0, rows.index)  # for backward it saves the indices only


def put_rows(residual: Tensor, rows: Rows) -> Tensor:
    """Zeros (B, ...) with the scaled ``residual`` (computed, ...) in its kept rows.

    For backward it saves the indices only, where torch's ``index_add`` keeps its whole source.
    """
    if torch.compiler.is_compiling() or rows.coin is not None:
        # Dynamo traces the Function to zero gradients; AOTAutograd saves only indices by itself.
        weight = _weights(rows, residual)
        zeros = residual.new_zeros((rows.batch, *residual.shape[1:]))
        return zeros.index_copy(0, rows.index, residual * _column(weight, residual))
    return _Put.apply(residual, rows)


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


class _Put(torch.autograd.Function):
    """Scaled rows among zeros."""

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:  # for torch.func, too
        ctx.rows = inputs[1]

    @staticmethod
    def forward(residual: Tensor, rows: Rows) -> Tensor:
        index, kept, _, scale, batch = rows
        if residual.ndim == 4 and _is_channels_last(residual):
            out = _empty_channels_last(residual, batch).zero_()
            inner, residual = out.permute(0, 2, 3, 1), residual.permute(0, 2, 3, 1)  # is faster
        else:
            out = inner = residual.new_zeros((batch, *residual.shape[1:]))
        if kept < index.shape[0]:
            index, residual = index[:kept], residual[:kept]
        inner.index_add_(0, index, residual, alpha=scale)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        index, kept, _, scale, _ = rows = ctx.rows
        if torch.is_grad_enabled():  # it is differentiated a second time
            return take_rows(grad, rows) * _column(_weights(rows, grad), grad), None
        out = gather_rows(grad, index)
        if scale != 1:
            out.mul_(scale)
        if kept < index.shape[0]:
            out[kept].zero_()
        return out, None


class _TakeChannelsLast(torch.autograd.Function):
    """Rows in the memory format of x."""

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, index = inputs
        ctx.save_for_backward(index)
        ctx.batch = x.shape[0]

    @staticmethod
    def forward(x: Tensor, index: Tensor) -> Tensor:
        return gather_rows(x, index)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (index,) = ctx.saved_tensors
        return put_rows(grad, Rows(index, index.shape[0], None, 1.0, ctx.batch)), None
