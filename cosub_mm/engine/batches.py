"""Batches of a data loader from any place of a training on, each with random numbers of its own.

A run that goes on at step n must get the pictures of step n, augmented as they would have been,
without reading the pictures before them. So the sampler leaves its first indices out, and each
index says which draw of the training it is; whoever loads the batch, a worker or the process
itself, seeds its random numbers from that. They depend on no worker's past and not on the number
of workers, and persistent workers are as good as others.
"""

import random
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Sampler

from .indices import indices_of
from .seeds import LOADING, seed_all

__all__ = ['Batches', 'EndlessBatches']


class Batches:
    """The batches of a data loader, which is changed in place: its sampler and how it reads.

    Args:
        dataloader: of a training. Iterable data sets and loaders that make no batches are left as
            they are.
    """

    def __init__(self, dataloader: DataLoader) -> None:
        self.dataloader = dataloader
        self.sampler: _Placed | None = None
        batch_sampler = dataloader.batch_sampler
        sampler = getattr(batch_sampler, 'sampler', None)
        if sampler is not None and not isinstance(dataloader.dataset, IterableDataset):
            self.sampler = sampler if isinstance(sampler, _Placed) else _Placed(sampler)
            batch_sampler.sampler = self.sampler
            _seed_by_place(dataloader.dataset)

    def __len__(self) -> int:
        return len(self.dataloader)

    @property
    def endless(self) -> bool:
        """Whether the sampler has no end, as those have that mmengine can fast-forward."""
        return self.sampler is not None and hasattr(self.sampler.sampler, 'skip')

    def of_pass(self, seed: int, number: int, done: int = 0) -> Iterable:
        """The batches of one pass over the data, without the first ``done``.

        These are not loaded where the loader's batch sampler is torch's own. Other batch samplers
        have rules of their own, so that their batches must be asked for, and are loaded.

        Args:
            seed: of the run.
            number: of the pass: the epoch.
            done: batches that the run has behind it.
        """
        if self.sampler is None:
            return islice(self.dataloader, done, None)
        if hasattr(self.sampler.sampler, 'set_epoch'):
            self.sampler.sampler.set_epoch(number)
        batch_sampler = self.dataloader.batch_sampler
        plain = type(batch_sampler) is BatchSampler
        self.sampler.skipped = done * batch_sampler.batch_size if plain else 0
        self.sampler.entropy = (LOADING, seed, get_rank(), number)
        return self.dataloader if plain else islice(self.dataloader, done, None)


class EndlessBatches:
    """Batches for a training by iterations, pass after pass.

    It stands where mmengine's loop has its own iterator, which starts a pass of a resumed run from
    its first index, reads what it skips where the sampler has an end, and waits 2 s a pass.

    Args:
        batches: of the training.
        runner: for its seed, which a resumed run takes over late.
    """

    def __init__(self, batches: Batches, runner: Runner) -> None:
        self.batches, self.runner = batches, runner
        self.done = 0
        self._iterator: Iterator | None = None

    def skip_iter(self, count: int) -> None:
        """Go on behind the first ``count`` batches of the training."""
        self.done, self._iterator = count, None

    def __iter__(self) -> 'EndlessBatches':
        return self

    def __next__(self) -> object:
        if self._iterator is None:
            self._iterator = self._next_pass()
        try:
            batch = next(self._iterator)
        except StopIteration:
            self._iterator = self._next_pass()
            batch = next(self._iterator)
        self.done += 1
        return batch

    def _next_pass(self) -> Iterator:
        number, done = (0, self.done) if self.batches.endless else divmod(self.done, len(self))
        return iter(self.batches.of_pass(self.runner.seed, number, done))

    def __len__(self) -> int:
        return len(self.batches)


class _Index(int):
    """An index of a data set that knows from what the numbers for its batch are drawn."""

    def __new__(cls, index: int, entropy: tuple[int, ...]) -> '_Index':
        self = super().__new__(cls, index)
        self.entropy = entropy
        return self

    def __getnewargs__(self) -> tuple[int, tuple[int, ...]]:  # on its way to a worker
        return int(self), self.entropy


class _Placed(Sampler):
    """A sampler without its first indices, whose others know their place.

    Its length stays that of the whole.
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.skipped = 0
        self.entropy: tuple[int, ...] = ()

    def __iter__(self) -> Iterator[int]:
        skipped, entropy = self.skipped, self.entropy
        indices = indices_of(self.sampler, skipped)
        if entropy:
            _, seed, _, number = entropy
            indices = _begun(indices, (LOADING, seed, number))
        for place, index in enumerate(indices, start=skipped):
            yield _Index(index, (*entropy, place)) if entropy else index

    def __len__(self) -> int:
        return len(self.sampler)


def _begun(indices: Iterable[int], entropy: tuple[int, ...]) -> Iterator[int]:
    """Draw the first index with numbers of the pass: samplers of torch draw their order there.

    All processes have the same numbers, as they share one order; afterwards theirs are as before.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    seed_all(*entropy)
    iterator = iter(indices)
    first = list(islice(iterator, 1))
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    torch.cuda.set_rng_state_all(devices)
    return chain(first, iterator)


class _SeededReading:
    """Reads the samples of a batch with the random numbers of its place."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __call__(self, indices: list[int]) -> list:
        entropy = getattr(indices[0], 'entropy', None)
        if entropy is not None:  # another loader may read the same data set
            seed_all(*entropy)
            indices = [int(index) for index in indices]
        read = getattr(type(self.dataset), '__getitems__', None)
        if read is not None:
            return read(self.dataset, indices)
        return [self.dataset[index] for index in indices]


def _seed_by_place(dataset: Dataset) -> None:
    # torch reads a batch by this method where a data set has it, and the data set stays the one
    # that hooks and checks know, which a wrapper would not.
    with suppress(AttributeError):  # a list, which draws nothing
        dataset.__getitems__ = _SeededReading(dataset)
