"""Which file a data-loading worker was on when it hung or died, and whether shared memory was full.

torch says how a worker ended, but not on what. Each worker notes the sample that it reads in memory
that it shares with its process, and the process names the file.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from cosub_mm.safe_files import shown

from .read_watch import ReadHangs, describe

__all__ = ['WORKER_TIMEOUT', 'WorkerError', 'naming_files', 'note_samples']

WORKER_TIMEOUT = 300
"""Seconds that a training waits for a batch; the recipes' batches take less than one."""
_FAILURES = r'DataLoader timed out|DataLoader worker .* (exited|is killed)|shared memory|/torch_\d'
_FULL = r'shared memory|Bus error|bus error|No space left|/torch_\d'
_SHARED = '/dev/shm'


class WorkerError(ValueError):
    """A read that hangs, or a data-loading worker that has died; the message names the file."""


def note_samples(loader: DataLoader) -> DataLoader:
    """Let each worker of a loader, changed in place, note which sample it reads.

    Args:
        loader: whose workers have not started.
    """
    if loader.num_workers and not isinstance(loader.dataset, IterableDataset):
        loader.samples_read = torch.full((loader.num_workers,), -1).share_memory_()
        loader.worker_init_fn = partial(_start, loader.worker_init_fn, loader.samples_read)
    return loader


@contextmanager
def naming_files(loaders: Callable[[], list[DataLoader]]) -> Iterator[None]:
    """Name the files in errors of the workers of loaders.

    Args:
        loaders: gives those in use.

    Raises:
        WorkerError: in the place of torch's RuntimeError, and where this process's own read hangs.
    """
    try:
        yield
    except ReadHangs as hangs:
        raise WorkerError(describe(hangs)) from None
    except RuntimeError as error:
        text = str(error)
        if not re.search(_FAILURES, text):
            raise
        files = [name for loader in loaders() for name in _being_read(loader)]
        raise WorkerError(_sentence(text, files)) from error


def _start(then: Callable[[int], None] | None, samples: Tensor, worker_id: int) -> None:
    dataset = get_worker_info().dataset
    kind = type(dataset)
    numbers = samples.numpy()  # the same memory

    def read(self: object, index: int) -> object:
        numbers[worker_id] = int(index)
        sample = kind.__getitem__(self, index)
        numbers[worker_id] = -1
        return sample

    # The worker's own copy: torch looks the method up in the class.
    dataset.__class__ = type(kind.__name__, (kind,), {'__getitem__': read})
    if then is not None:
        then(worker_id)


def _being_read(loader: DataLoader) -> Iterator[str]:
    for index in getattr(loader, 'samples_read', torch.empty(0)).tolist():
        if index < 0:
            continue
        info = getattr(loader.dataset, 'get_data_info', lambda _: {})(index) or {}
        names = [shown(info[key]) for key in ('img_path', 'seg_map_path') if info.get(key)]
        yield ' with '.join(names) or f'sample {index}'


def _sentence(text: str, files: list[str]) -> str:
    lines = [line for line in text.strip().splitlines() if re.search(f'{_FAILURES}|{_FULL}', line)]
    reason = (lines or [text])[-1].strip()
    on = f' The workers were reading {"; ".join(files)}.' if files else ''
    if re.search(_FULL, text):
        usage = _usage()
        return (
            f'Shared memory, by which workers hand over batches, is full{usage}: {reason}.{on} '
            f'Give more of it (docker run --shm-size=16g or --ipc=host), or take a smaller batch, '
            f'fewer workers or a smaller prefetch_factor.'
        )
    cure = (
        'The disk or the network may hang, or the file may never end (a pipe); '
        'train_dataloader.timeout sets how many seconds are waited, 0 for ever.'
        if 'timed out' in text
        else 'Killed by the system it was out of memory (fewer workers, smaller pictures); '
        'otherwise a decoder crashed on the file: replace it.'
    )
    return f'{reason.rstrip(".")}.{on} {cure}'


def _usage() -> str:
    try:
        usage = shutil.disk_usage(_SHARED)
    except OSError:
        return ''
    return f' ({_SHARED} has {usage.total / 2**20:,.0f} MiB, {usage.free / 2**20:,.0f} are free)'
