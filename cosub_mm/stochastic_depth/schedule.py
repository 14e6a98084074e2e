"""Drop rate of each block over the depth of a model."""

__all__ = ['SCHEDULES', 'block_rates']

SCHEDULES = ('uniform', 'linear')


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
