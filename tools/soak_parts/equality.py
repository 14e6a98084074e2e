"""Whether disturbed trainings are bit for bit the undisturbed one."""

from collections.abc import Iterator
from pathlib import Path

import torch

from cosub_mm.engine.checkpoints.files import load_checkpoint

from .campaign import Start
from .promise import Promise, name
from .training import PROCESSES, Training

__all__ = ['equal_files', 'equal_ranks', 'equal_steps', 'tensors']


def _steps(start: Start, rank: int) -> Iterator[tuple[int, dict]]:
    for note in start.job.notes(rank):
        if 'iter' in note:
            yield note['iter'], note


def equal_steps(starts: list[Start], rounds: list[int]) -> Promise:
    """Pictures and loss of each step are those of the undisturbed training."""
    expected = {
        (rank, i): note
        for start in starts
        if start.round == 0
        for rank in range(PROCESSES)
        for i, note in _steps(start, rank)
    }
    same, faults = 0, []
    for number in rounds[1:]:
        first = None
        for start in (s for s in starts if s.round == number):
            for rank in range(PROCESSES):
                for i, note in _steps(start, rank):
                    different = _difference(note, expected.get((rank, i)))
                    same += not different
                    if different and (first is None or i < first[0]):
                        first = (
                            i,
                            f'training {number}, {name(start)} (from iteration '
                            f'{start.begins}): iteration {i} of rank {rank} {different}',
                        )
        faults += [first[1]] if first else []
    measured = f'{same} steps of both processes have the same pictures and the same loss'
    return Promise(
        'Each step is that of the undisturbed training, bit for bit', measured, (*faults,)
    )


def _difference(note: dict, expected: dict | None) -> str:
    if expected is None:
        return 'does not exist in the undisturbed training'
    if note['pictures'] != expected['pictures']:
        return 'has other pictures'
    return 'has another loss of the same pictures' if note['loss'] != expected['loss'] else ''


def equal_files(rounds: list[int], training: Training, folder: Path) -> Promise:
    """Weights, average and optimizer of the last checkpoint."""
    name = f'epoch_{training.epochs}.pth'
    paths = [folder / f'training_{number}' / name for number in rounds]
    found = [path for path in paths if path.exists()]
    contents = [dict(tensors(load_checkpoint(str(path)))) for path in found]
    faults = [f'{path} is missing' for path in paths if path not in found]
    for path, other in zip(found[1:], contents[1:]):
        unequal = [
            key
            for key in contents[0].keys() | other.keys()
            if key not in contents[0] or key not in other or not _same(contents[0][key], other[key])
        ]
        if unequal:
            example = f'{len(unequal)} of {len(other)} tensors differ, e.g. {min(unequal)}'
            faults.append(f'{path.parent.name}: {example}')
    number = len(contents[0]) if contents else 0
    measured = f'{number} tensors of {len(found) - 1} trainings compared'
    text = 'Its end has the same weights, average and optimizer as the undisturbed one'
    return Promise(text, measured, (*faults,))


def tensors(node: object, path: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(node, torch.Tensor):
        yield path, node
    elif isinstance(node, dict):
        for key, value in node.items():
            if path or key in ('state_dict', 'ema_state_dict', 'optimizer'):
                yield from tensors(value, f'{path}.{key}' if path else str(key))


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def equal_ranks(starts: list[Start]) -> Promise:
    same, faults = 0, []
    for start in starts:
        ranks = [
            {n['epoch']: n['weights'] for n in start.job.notes(rank) if 'epoch' in n}
            for rank in range(PROCESSES)
        ]
        for epoch in set.intersection(*map(set, ranks)):
            equal = len({rank[epoch] for rank in ranks}) == 1
            same += equal
            if not equal:
                faults.append(f'{name(start)}: the processes differ behind epoch {epoch + 1}')
    measured = f'equal behind {same} epochs'
    return Promise('All processes hold the same weights', measured, (*faults,))
