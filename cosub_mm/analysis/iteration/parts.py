"""The time of an iteration by part, of several ways in turns."""

import contextlib
import random
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch

from cosub_mm.analysis.measure import median

__all__ = ['PARTS', 'Parts', 'Way', 'in_turns', 'one_thread', 'table']

PARTS = (
    'preprocessing',
    'forward and loss',
    'backward',
    'optimizer',
    'guard',
    'hooks and the rest',
)
"""Guard: what looks for losses and gradients that are no numbers, and takes their steps back."""


class Parts:
    """Processor time by part; what is timed within another part does not count there."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._now: dict[str, float] = defaultdict(float)
        self._within: list[float] = []

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count what is done inside for a part."""
        self._within.append(0.0)
        start = time.process_time()
        try:
            yield
        finally:
            elapsed = time.process_time() - start
            self._now[part] += elapsed - self._within.pop()
            if self._within:
                self._within[-1] += elapsed

    def watch(self, owner: object, name: str, part: str) -> None:
        """Count the time of a method for a part."""
        method = getattr(owner, name)

        def timed(*args, **kwargs):
            with self(part):
                return method(*args, **kwargs)

        object.__setattr__(owner, name, timed)

    def iteration(self, call: Callable[[], object]) -> None:
        """Run one iteration; what no part has is the rest."""
        self._now.clear()
        start = time.process_time()
        call()
        total = time.process_time() - start
        for part in PARTS[:-1]:
            self.seconds[part].append(self._now[part])
        self.seconds[PARTS[-1]].append(total - sum(self._now[part] for part in PARTS[:-1]))
        self.seconds['all'].append(total)


class Way(NamedTuple):
    """One way to train.

    Attributes:
        parts: its times.
        batch: makes a batch, which is not timed: in a training loading processes do it.
        step: the iteration with it.
    """

    parts: Parts
    batch: Callable[[], object]
    step: Callable[[object], object]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, without warnings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        torch.set_num_threads(threads)


def in_turns(ways: dict[str, Way], rounds: int, warmup: int) -> dict[str, dict[str, list[float]]]:
    """Time one iteration of each way a round, in random order.

    Args:
        ways: by name.
        rounds: how many to time.
        warmup: rounds before.

    Returns:
        Seconds of each round, by way and part.
    """
    order = random.Random(0)
    for number in range(warmup + rounds):
        for way in order.sample(list(ways.values()), len(ways)):
            way.parts.iteration(partial(way.step, way.batch()))
        if number + 1 == warmup:
            for way in ways.values():
                way.parts.seconds.clear()
    return {name: dict(way.parts.seconds) for name, way in ways.items()}


def table(times: dict[str, dict[str, list[float]]]) -> str:
    """Milliseconds by part, least and median, and the ratios of the first way to the second."""
    first, second = times
    head = f'| part | {first}, least | median | {second}, least | median | ratio, least | medians |'
    lines = [head, '|---|---|---|---|---|---|---|']
    for part in (*PARTS, 'all'):
        a, b = times[first][part], times[second][part]
        values = [min(a), median(a), min(b), median(b)]
        cells = [f'{1e3 * value:.2f}' for value in values]
        ratios = ['', '']
        if part not in PARTS[-2:]:
            ratios = [f'{values[0] / values[2]:.2f}', f'{values[1] / values[3]:.2f}']
        lines.append(f'| {" | ".join([part, *cells, *ratios])} |')
    return '\n'.join(lines)
