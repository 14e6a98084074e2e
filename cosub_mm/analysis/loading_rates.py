"""Images a second of several ways of loading the same images, in turn, and times by step."""

import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mmengine.dataset import default_collate
from torch.utils.data import DataLoader, Dataset

from cosub_mm.datasets.picture_steps import PictureSteps

from .reference_pipeline import Steps

__all__ = ['Way', 'measure_core', 'measure_workers', 'steps_of', 'time_steps']


@dataclass
class Way:
    """A way of loading.

    Attributes:
        name: how the report calls it.
        dataset: gives image after image, the same in all ways.
        steps: what it does for an image, from its index; for the times by step.
        collate: makes a batch.
        core: images a second of processor time, by round.
        wall: images a second on the clock with workers, by round.
    """

    name: str
    dataset: Dataset
    steps: Steps
    collate: Callable[[list], object] = default_collate
    core: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Median images a second and core."""
        return statistics.median(self.core)


def measure_core(ways: Sequence[Way], batch_size: int, rounds: int) -> None:
    """Images a second of one core, by its processor time: what others do on the machine is not in.

    The ways take turns batch by batch; a round is one pass of each over all images. The first
    round is not counted.
    """
    for number in range(rounds + 1):
        spent = dict.fromkeys(range(len(ways)), 0.0)
        size = len(ways[0].dataset)
        for start in range(0, size, batch_size):
            # in another order each time, as the one before has filled the caches
            for i in sorted(range(len(ways)), key=lambda k: (k + start + number) % len(ways)):
                begin = time.thread_time()
                images = range(start, min(start + batch_size, size))
                ways[i].collate([ways[i].dataset[k] for k in images])
                spent[i] += time.thread_time() - begin
        if number:
            for i, seconds in spent.items():
                ways[i].core.append(size / seconds)


def measure_workers(ways: Sequence[Way], batch_size: int, rounds: int, workers: int) -> None:
    """Images a second on the clock with loading processes, worker start-up aside."""
    for number in range(rounds + 1):
        for way in ways:
            rate = _pass(way, batch_size, workers)
            if number:
                way.wall.append(rate)


def _pass(way: Way, batch_size: int, workers: int) -> float:
    loader = DataLoader(way.dataset, batch_size, num_workers=workers, collate_fn=way.collate)
    start, seen, size = None, 0, len(way.dataset)
    for number, _ in enumerate(loader):
        # The clock starts with the first batch: a long training starts its workers once.
        if start is None:
            start = time.perf_counter()
        else:
            seen += min(batch_size, size - number * batch_size)
    return seen / (time.perf_counter() - start) if seen else math.nan


def time_steps(way: Way, rounds: int) -> dict[str, float]:
    """Microseconds of processor time an image, by step: the median over the rounds."""
    totals = defaultdict(list)
    for _ in range(rounds):
        spent = defaultdict(float)
        for index in range(len(way.dataset)):
            value = index
            for name, step in way.steps:
                begin = time.thread_time()
                value = step(value)
                spent[name] += time.thread_time() - begin
        for name, seconds in spent.items():
            totals[name].append(seconds / len(way.dataset) * 1e6)
    return {name: statistics.median(values) for name, values in totals.items()}


def steps_of(pipeline: Sequence[Callable]) -> Steps:
    """The steps of a built pipeline of ours by name, those that share a picture one by one."""
    steps: Steps = []
    for step in pipeline:
        parts = step.parts if isinstance(step, PictureSteps) else [(type(step).__name__, step)]
        steps += parts
    names = {
        'LoadPicture': 'decode',
        'LoadImageFromFile': 'decode',
        'PackInputs': 'pack',
        'to array': 'pack',
    }
    return [(names.get(name, name), step) for name, step in steps]
