"""Drop rate of each block over the depth of a model, and what rounding makes of a rate."""

import math

from .draw import draw_rows

__all__ = ['ROUNDINGS', 'SCHEDULES', 'block_rates', 'rounded_rate']

SCHEDULES = ('uniform', 'linear')
ROUNDINGS = ('round', 'floor', 'ours')


def block_rates(drop_rate: float, blocks: int, schedule: str = 'uniform') -> list[float]:
    """Rates of ``blocks`` successive blocks.

    Args:
        drop_rate: the rate, in [0, 1); with ``'linear'`` that of the last block.
        blocks: how many blocks there are.
        schedule: ``'uniform'``, the same rate everywhere (paper, section 4), or ``'linear'``, from
            0 at the first block to ``drop_rate`` at the last (Huang et al., 2016).

    Raises:
        ValueError: a rate outside [0, 1), or an unknown schedule.
    """
    if not 0 <= drop_rate < 1:
        raise ValueError(
            f'drop_rate={drop_rate} must lie in [0, 1): it is the probability that a sample skips '
            f'a residual branch.'
        )
    if schedule not in SCHEDULES:
        raise ValueError(f'schedule={schedule!r} is unknown; choose from {SCHEDULES}.')
    if schedule == 'uniform' or blocks == 1:
        return [float(drop_rate)] * blocks
    return [drop_rate * i / (blocks - 1) for i in range(blocks)]


def rounded_rate(rate: float, batch: int, rounding: str = 'ours', draws: int = 2000) -> float:
    """Drop rate that a batch of ``batch`` rows realises in the mean.

    Args:
        rate: the rate asked for, in [0, 1).
        batch: rows, at least 1.
        rounding: ``'round'`` keeps round(batch * (1 - rate)) rows (paper, section 4); ``'floor'``
            keeps the integer below and at least one (DINOv2); ``'ours'`` is measured on ``draws``
            draws of :func:`~cosub_mm.stochastic_depth.rows.draw.draw_rows`.
        draws: how many draws to average for ``'ours'``.

    Raises:
        ValueError: a rate outside [0, 1), no rows, or an unknown rounding.
    """
    block_rates(rate, 1)
    if batch < 1 or rounding not in ROUNDINGS:
        raise ValueError(
            f'batch={batch} must be at least 1, and rounding={rounding!r} one of {ROUNDINGS}.'
        )
    if rounding == 'round':
        return 1 - round(batch * (1 - rate)) / batch
    if rounding == 'floor':
        return 1 - max(math.floor(batch * (1 - rate)), 1) / batch
    kept = sum(draw_rows(batch, rate, 'cpu').kept for _ in range(draws))
    return 1 - kept / draws / batch
