"""What was promised, and whether it was kept in a soak."""

from collections import defaultdict
from pathlib import Path

from . import equality, survival
from .campaign import Start
from .promise import Promise
from .training import Training

__all__ = ['judge']

# A process that trains for so long (in samples, about seconds) is looked at for leaks.
LONG_LIFE = 12
MEMORY_GROWTH, DESCRIPTOR_GROWTH = 32 * 2**20, 4


def judge(starts: list[Start], training: Training, folder: Path) -> list[Promise]:
    """Compare what happened with what is promised.

    Args:
        starts: of :class:`.campaign.Campaign`; those of round 0 were not disturbed.
        training: what was trained.
        folder: where the trainings lie.
    """
    rounds = sorted({start.round for start in starts})
    return [
        survival.ends(starts, rounds),
        survival.gone(starts),
        survival.codes(starts),
        survival.checkpoints(starts),
        survival.put_aside(starts),
        survival.twice(starts, training),
        equality.equal_steps(starts, rounds),
        equality.equal_files(rounds, training, folder),
        equality.equal_ranks(starts),
        survival.full_disk(starts),
        survival.not_a_number(starts, rounds, training, folder),
        survival.pictures(starts, rounds),
        _flat(starts, 'memory', MEMORY_GROWTH, 2**20, 'MiB'),
        _flat(starts, 'descriptors', DESCRIPTOR_GROWTH, 1, 'descriptors'),
    ]


def _flat(starts: list[Start], what: str, limit: float, unit: float, unit_name: str) -> Promise:
    """The last third of each long life needs no more than the one before; the first warms up."""
    lives = defaultdict(list)
    for start in starts:
        for sample in start.job.samples:
            trained = start.trained_from is not None and sample.time > start.trained_from
            if trained and sample.role.startswith('rank'):
                lives[start.job.number, sample.role].append(getattr(sample, what))
    peaks = [max(values) for values in lives.values()]
    growths, faults = {}, []
    for key, values in lives.items():
        third = len(values) // 3
        if len(values) >= LONG_LIFE:
            growths[key] = max(values[-third:]) - max(values[third:-third])
    for (number, role), growth in growths.items():
        if growth > limit:
            faults.append(f'start {number}, {role}: {growth / unit:.1f} {unit_name} more')
    measured = (
        f'at most {max(growths.values(), default=0) / unit:+.1f} {unit_name} in {len(growths)} '
        f'processes that trained for {LONG_LIFE} s or more; the most one had is '
        f'{max(peaks, default=0) / unit:.0f}'
    )
    text = f'{what.capitalize()} of a process {"is" if what == "memory" else "are"} flat'
    return Promise(text, measured, (*faults,))
