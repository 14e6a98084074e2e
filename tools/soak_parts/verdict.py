"""What was promised, and whether it was kept in a soak."""

from collections import defaultdict
from pathlib import Path
from statistics import median

from . import equality, survival
from .campaign import Start
from .job import Sample
from .promise import Promise
from .training import Training

__all__ = ['judge']

# A process that trains for so long (in samples, about seconds) is looked at for leaks.
LONG_LIFE = 15
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
    """What a process has in the last third of its steps is what it had in the middle third.

    The first third warms up. Medians, as the workers of a validation come and go.
    """
    lives = defaultdict(list)
    for start in starts:
        for sample in start.job.samples:
            if sample.role.startswith('rank') and _in_steps(start, sample):
                lives[start.job.number, sample.role].append(getattr(sample, what))
    growths, faults = {}, []
    for key, values in lives.items():
        third = len(values) // 3
        if len(values) >= LONG_LIFE:
            growths[key] = median(values[-third:]) - median(values[third:-third])
    for (number, role), growth in growths.items():
        if growth > limit:
            faults.append(f'start {number}, {role}: {growth / unit:.1f} {unit_name} more')
    most = max((max(values) for values in lives.values()), default=0)
    measured = (
        f'at most {max(growths.values(), default=0) / unit:+.1f} {unit_name} in {len(growths)} '
        f'processes that trained for {LONG_LIFE} s or more; the most one had is {most / unit:.0f}'
    )
    text = f'{what.capitalize()} of a process {"is" if what == "memory" else "are"} flat'
    return Promise(text, measured, (*faults,))


def _in_steps(start: Start, sample: Sample) -> bool:
    return start.trained_from is not None and (start.trained_from < sample.time <= start.trained_to)
