"""Images a second of reading alone, from disk: single files, tar shards, shards read ahead."""

import os
import random
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from torch.utils.data import Dataset

from cosub_mm.datasets.decoding import read_file
from cosub_mm.datasets.imagenet21k.tar_backend import shard_path
from cosub_mm.datasets.shuffle_buffer import ShuffleBufferSampler

__all__ = ['Rate', 'pack', 'reading_rates', 'table']

BLOCK = 32
"""Neighbours that are read ahead together, as in training."""


class Rate(NamedTuple):
    """Median images a second on the clock, and a second of the processor."""

    wall: float
    core: float


class _Addresses(Dataset):
    """What a sampler that reads ahead asks a data set."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses

    def __len__(self) -> int:
        return len(self.addresses)

    def get_data_info(self, index: int) -> dict:
        return dict(img_path=self.addresses[index])


def pack(paths: Sequence[str], shard: Path) -> list[str]:
    """Write files into a new tar shard, in their order; returns their addresses there."""
    with tarfile.open(shard, 'x') as archive:
        for number, path in enumerate(paths):
            archive.add(path, f'{number}{Path(path).suffix}')
    with tarfile.open(shard) as archive:
        members = archive.getmembers()
    return [shard_path(shard, member.offset_data, member.size) for member in members]


def reading_rates(paths: Sequence[str], folder: Path, rounds: int) -> dict[str, Rate]:
    """Read files three ways, in turns, each time after the system has forgotten them.

    The system is asked to drop the files from its page cache (``posix_fadvise``), so the disk is
    measured with its own caches.

    Args:
        paths: images, each a file of this machine.
        folder: takes a copy of all of them for the time.
        rounds: passes of each way; the first is not counted.
    """
    shard = folder / 'reading.tar'
    addresses = pack(paths, shard)
    buffer = max(BLOCK, len(paths) // 4)
    sampler = ShuffleBufferSampler(_Addresses(addresses), buffer=buffer, block=BLOCK, seed=0)
    shuffled = random.Random(0).sample(range(len(paths)), len(paths))
    ways = {
        'single files': (paths, shuffled, paths),
        'tar shard': (addresses, shuffled, [shard]),
        'tar shard, read ahead by blocks': (addresses, sampler, [shard]),
    }
    seen: dict[str, list[Rate]] = {name: [] for name in ways}
    try:
        for number in range(rounds + 1):
            for name, (where, order, files) in ways.items():
                _forget(files)
                rate = _pass(where, iter(order))
                if number:
                    seen[name].append(rate)
    finally:
        shard.unlink()
    return {name: Rate(*map(median, zip(*rates))) for name, rates in seen.items()}


def table(rates: dict[str, Rate]) -> str:
    """Both rates of each way, and over that of the first."""
    first = next(iter(rates.values()))
    lines = [f'{"reading alone":34}{"images/s":>10}{"ratio":>7}{"a core":>10}{"ratio":>7}']
    for name, rate in rates.items():
        cells = f'{rate.wall:10.0f}{rate.wall / first.wall:7.2f}'
        lines.append(f'{name:34}{cells}{rate.core:10.0f}{rate.core / first.core:7.2f}')
    return '\n'.join(lines)


def _pass(addresses: Sequence[str], order: Iterator[int]) -> Rate:
    wall, core, number = time.perf_counter(), time.process_time(), 0
    for index in order:
        read_file(addresses[index])
        number += 1
    return Rate(number / (time.perf_counter() - wall), number / (time.process_time() - core))


def _forget(files: Sequence[str | Path]) -> None:
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fdatasync(descriptor)  # pages that are not on the disk yet stay
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
