"""What was promised, and whether it was kept in a soak."""

from pathlib import Path
from statistics import median

from . import equality, survival
from .campaign import Start
from .promise import Promise
from .training import PROCESSES, Training

__all__ = ['judge']

# A start that trains for so many epochs is looked at for leaks.
LONG_LIFE = 9
# Of 2 processes with 2 workers each: 16 MiB and a descriptor for each of the 6.
MEMORY_GROWTH, DESCRIPTOR_GROWTH = 96 * 2**20, 6


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
    """What all processes of a start hold together does not grow from epoch to epoch.

    Each process measures itself and its workers behind the last step of an epoch; the median of the
    last third of a start's epochs is compared with that of the middle third. The first third warms
    up.
    """
    growths, faults, most = {}, [], 0
    for start in starts:
        values = _behind_epochs(start, what)
        most = max([most, *values])
        if len(values) >= LONG_LIFE:
            third = len(values) // 3
            growths[start.job.number] = median(values[-third:]) - median(values[third:-third])
    for number, growth in growths.items():
        if growth > limit:
            faults.append(f'start {number}: {growth / unit:.1f} {unit_name} more')
    measured = (
        f'{min(growths.values(), default=0) / unit:+.1f} to '
        f'{max(growths.values(), default=0) / unit:+.1f} {unit_name} in {len(growths)} starts of '
        f'{LONG_LIFE} epochs or more; the most they had is {most / unit:.0f}'
    )
    verb = 'is' if what == 'memory' else 'are'
    text = f'{what.capitalize()} of all processes together {verb} flat'
    return Promise(text, measured, (*faults,), tried=bool(growths))


def _behind_epochs(start: Start, what: str) -> list[int]:
    """Of each epoch that all processes have noted, the sum over them."""
    noted = [
        {note['behind']: note[what] for note in start.job.notes(rank) if 'behind' in note}
        for rank in range(PROCESSES)
    ]
    return [
        sum(one[epoch] for one in noted) for epoch in sorted(set.intersection(*map(set, noted)))
    ]
