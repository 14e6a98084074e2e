"""Whether trainings survived what was done to them, and lost nothing."""

from itertools import pairwise
from pathlib import Path

from cosub_mm.engine.checkpoints.files import load_checkpoint
from cosub_mm.launch.errors import RESUME_EXIT_CODE

from .campaign import END_SECONDS, Start
from .equality import tensors
from .promise import Promise, name, tail
from .training import DAMAGED, Training

__all__ = [
    'checkpoints',
    'codes',
    'ends',
    'full_disk',
    'gone',
    'not_a_number',
    'pictures',
    'put_aside',
    'twice',
]


def ends(starts: list[Start], rounds: list[int]) -> Promise:
    last = {start.round: start for start in starts}
    faults = [
        f'training {number} did not come to its end: {tail(last[number])}'
        for number in rounds
        if not last[number].completed
    ]
    hits = [start.hit for start in starts if start.hit]
    kinds = ', '.join(f'{hits.count(kind)} {kind}' for kind in sorted(set(hits)))
    measured = f'{len(hits)} kills and signals survived by {len(rounds) - 1} trainings ({kinds})'
    if not hits:
        faults.append('nothing was hit: more time is needed')
    return Promise('Killed anywhere, a training comes to its end by --resume', measured, (*faults,))


def gone(starts: list[Start]) -> Promise:
    hit = [start for start in starts if start.hit]
    faults = [
        f'{name(s)}: {", ".join(p.role for p in s.lived_on)} lived on after {s.hit}'
        for s in starts
        if s.lived_on
    ]
    longest = max((start.gone_after for start in hit), default=0.0)
    measured = f'all processes gone after at most {longest:.1f} s'
    text = f'No process is left {END_SECONDS:.0f} s after one was hit'
    return Promise(text, measured, (*faults,))


def codes(starts: list[Start]) -> Promise:
    faults, stopped = [], 0
    for start in starts:
        training = start.hit == 'SIGTERM to the launcher' and start.trained_from is not None
        stopped += training and start.code == RESUME_EXIT_CODE
        if training and start.code not in (RESUME_EXIT_CODE, 0):
            faults.append(f'{name(start)}: code {start.code} after SIGTERM: {tail(start)}')
        elif not start.hit and start.code != 0:
            faults.append(f'{name(start)}: code {start.code} without a hit: {tail(start)}')
        elif start.hit and start.code == 0 and not _finished(start):
            faults.append(f'{name(start)}: code 0 although it was hit')
    measured = f'{sum(s.completed for s in starts)} ends with 0, {stopped} stops with 75'
    return Promise('0 means done, 75 means resume me', measured, (*faults,))


def _finished(start: Start) -> bool:
    done = start.job.iterations()
    return bool(done) and done[-1] + 1 == start.job.training.iterations


def checkpoints(starts: list[Start]) -> Promise:
    faults = [f'{name(start)}: {torn}' for start in starts for torn in start.torn]
    whole = sum(start.whole for start in starts)
    measured = f'{whole} files verified by their checksums'
    return Promise('What has the name of a checkpoint is whole', measured, (*faults,))


def put_aside(starts: list[Start]) -> Promise:
    harmed = [start for start in starts if start.harm]
    faults = [f'behind {name(s)} ({s.harm}): nothing was said' for s in harmed if not s.told]
    measured = f'{len(harmed)} checkpoints damaged behind a kill, put aside and the older one taken'
    text = 'A damaged newest checkpoint is noticed and kept, the one before is taken'
    return Promise(text, measured, (*faults,), tried=bool(harmed))


def twice(starts: list[Start], training: Training) -> Promise:
    """Steps done again are those behind the newest checkpoint, and none after SIGTERM."""
    faults, again = [], 0
    for before, start in pairwise(starts):
        notes = start.job.notes()
        if not notes or start.round != before.round:
            continue
        if notes[0]['start'] != start.begins:
            faults.append(f'{name(start)} began at {notes[0]["start"]}, not at {start.begins}')
        done = before.job.iterations()
        lost = max(0, done[-1] + 1 - notes[0]['start']) if done else 0
        again += lost
        clean = before.code == RESUME_EXIT_CODE and not before.harm
        if clean and lost:
            faults.append(f'{name(before)} was stopped by a signal and {lost} steps were lost')
    done = sum(len(s.job.iterations()) for s in starts if s.round)
    measured = f'{again} of {done} steps done twice (an epoch has {training.steps})'
    text = 'A resumed training begins at the newest checkpoint; SIGTERM loses no step'
    return Promise(text, measured, (*faults,))


def full_disk(starts: list[Start]) -> Promise:
    met, faults = 0, []
    for start in (s for s in starts if s.job.full_disk):
        done, last = start.job.iterations(), start.job.full_disk[1]
        if not done or done[-1] <= last:
            continue  # hit before
        met += 1
        if 'A checkpoint could not be written' not in start.job.output:
            faults.append(f'{name(start)}: nothing was said of the full disk')
    measured = f'{met} saves met a full disk; the training went on and saved again'
    text = 'A save that fails is said, costs no older checkpoint and no step'
    return Promise(text, measured, (*faults,), tried=bool(met))


def not_a_number(
    starts: list[Start], rounds: list[int], training: Training, folder: Path
) -> Promise:
    planned = {i for start in starts for i in start.job.nan}
    met = sum(i in planned for start in starts for i in start.job.iterations())
    files, faults = 0, []
    for path in (p for n in rounds for p in sorted((folder / f'training_{n}').glob('*.pth'))):
        files += 1
        bad = [
            key
            for key, value in tensors(load_checkpoint(str(path)))
            if value.is_floating_point() and not value.isfinite().all()
        ]
        if bad:
            faults.append(f'{path}: {len(bad)} tensors are not finite, e.g. {bad[0]}')
    measured = f'{met} steps with pictures that are no numbers; {files} checkpoints are finite'
    text = 'A step that is not finite is skipped by all processes and never saved'
    return Promise(text, measured, (*faults,), tried=bool(met))


def pictures(starts: list[Start], rounds: list[int]) -> Promise:
    """Every damaged picture has been named in each training."""
    faults = []
    for number in rounds:
        text = ''.join(s.job.output for s in starts if s.round == number)
        lines = [line for line in text.splitlines() if 'takes its place' in line]
        named = {line.partition('Cannot use ')[2].partition(' ')[0] for line in lines}
        if len(named) != len(DAMAGED):
            faults.append(f'training {number} named {len(named)} of {len(DAMAGED)}')
    measured = f'{len(DAMAGED)} damaged pictures skipped in each training'
    return Promise('Damaged pictures are named and skipped where asked', measured, (*faults,))
