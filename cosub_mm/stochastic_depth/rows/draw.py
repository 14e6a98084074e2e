"""Which rows a residual branch sees.

A *row* is one sample of the batch: index 0 of a tensor's first dimension. The paper (section 4,
figure 3) draws a permutation of the rows, runs the branch on the first of them and adds the result
back.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ['Rows', 'draw_rows', 'draw_rows_at_once', 'kept_count']

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
_is_compiling = torch.compiler.is_compiling


def draw_rows(
    batch: int, rate: float, device: torch.device | str, scale_by_keep: bool = True
) -> Rows:
    """Draw the rows to keep, each with probability exactly ``1 - rate``.

    The kept count is ``batch * (1 - rate)`` where that is whole. Otherwise it is the integer
    below or above, at random, so that its mean is exact; rounding (paper, section 4) would turn a
    rate of .1 into 0 for 2 rows. What is *computed* may be one row more than what is kept:

    - outside torch.compile: the kept rows, but never none, because many modules fail on an empty
      batch and DDP wants a gradient of every parameter;
    - under torch.compile: the count rounded up, the same in each step. Shapes stay static, at the
      price of less than one row.

    Args:
        batch: number of rows.
        rate: drop rate in [0, 1).
        device: where the indices are needed.
        scale_by_keep: divide the residual by the keep probability, which keeps its expectation.

    Returns:
        The rows. Random numbers come from torch's global generators, so that ``manual_seed`` rules
        them and activation checkpointing repeats them.
    """
    if not _is_compiling():
        return draw_rows_at_once(batch, [rate], torch.device(device), [scale_by_keep])[0]
    # One random operation a branch: inductor may run two in either order, and then mask and
    # subset would keep other rows. The coin stays in the graph.
    scale = 1 / (1 - rate) if scale_by_keep else 1.0
    whole, fraction = kept_count(batch, rate)
    numbers = torch.rand(batch + 1, device=device, dtype=torch.float32)
    order = numbers[:batch].argsort()
    if not fraction:
        return Rows(order[:whole], whole, None, scale, batch)
    coin = (numbers[batch:] < fraction).to(torch.float32)
    return Rows(order[: whole + 1], whole, coin, scale, batch)


def draw_rows_at_once(
    batch: int, rates: Sequence[float], device: torch.device, scale_by_keep: Sequence[bool]
) -> list[Rows]:
    """What successive calls of :func:`draw_rows` would draw for several branches, outside compile.

    On a CPU the same numbers, too: a stream of random numbers has no seams. On other devices the
    rows come from the generator there, and the coins, which the host must know, from the CPU's.

    Args:
        batch: number of rows.
        rates: drop rate of each branch, in [0, 1).
        device: where the indices are needed.
        scale_by_keep: for each branch.

    Returns:
        The rows of each branch.
    """
    counts = [_count(batch, rate) for rate in rates]
    tossed = [fraction > 0 for _, fraction in counts]
    coins: Iterable[float] = repeat(1.0)
    if device.type == 'cpu':
        numbers = torch.rand(len(rates), batch + 1, dtype=torch.float32, device=device)
        orders = numbers[:, :batch].argsort(1)
        if any(tossed):
            coins = numbers[:, batch].tolist()
    else:
        numbers = torch.rand(len(rates), batch, dtype=torch.float32, device=device)
        orders = numbers.argsort(1)
        if any(tossed):
            drawn = iter(torch.rand(sum(tossed), dtype=torch.float32, device=_CPU).tolist())
            coins = [next(drawn) if toss else 1.0 for toss in tossed]
    kept = [whole + (coin < fraction) for (whole, fraction), coin in zip(counts, coins)]
    computed = [min(number or 1, batch) for number in kept]  # of an empty batch none
    sizes = [size for number in computed for size in (number, batch - number)]
    # One operator cuts the orders into the rows of each branch and those that it drops; nobody
    # changes them, so that torch need not know that they share their memory.
    parts = torch.unsafe_split_with_sizes(orders.flatten(), sizes)[::2]
    scales = [1 / (1 - rate) if scale else 1.0 for rate, scale in zip(rates, scale_by_keep)]
    return [Rows(*row, batch) for row in zip(parts, kept, repeat(None), scales)]
