"""Step time, bytes saved for backward and peak memory of a training step."""

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = [
    'Step',
    'Timing',
    'interleave',
    'median',
    'peak_bytes',
    'precision',
    'saved_bytes',
    'spread',
]

_T = TypeVar('_T')


@dataclass
class Step:
    """One training step without optimiser: forward, loss, backward.

    Attributes:
        forward: computes the loss.
        parameters: whose gradients are deleted after the step.
        device: where it runs.
    """

    forward: Callable[[], Tensor]
    parameters: list[nn.Parameter]
    device: torch.device

    def __call__(self, clock: Callable[[], float] = time.perf_counter) -> tuple[float, float]:
        """Seconds of forward and of backward."""
        start = self._now(clock)
        loss = self.forward()
        middle = self._now(clock)
        loss.backward()
        end = self._now(clock)
        for parameter in self.parameters:
            parameter.grad = None
        return middle - start, end - middle

    def _now(self, clock: Callable[[], float]) -> float:
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
        return clock()


@dataclass
class Timing:
    """Seconds of each round, forward and backward."""

    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)

    @property
    def steps(self) -> list[float]:
        """Seconds of each round, forward plus backward."""
        return [a + b for a, b in zip(self.forward, self.backward)]

    def ratios(self, base: 'Timing') -> list[float]:
        """Step times over those of ``base``, round by round, so that slow rounds cancel."""
        return [a / b for a, b in zip(self.steps, base.steps)]


def interleave(
    steps: dict[str, Step], rounds: int, warmup: int, clock: Callable[[], float]
) -> dict[str, Timing]:
    """Time all steps in turns, in random order within a round.

    What disturbs a machine for a while then disturbs all of them.
    """
    timings = {name: Timing() for name in steps}
    order = random.Random(0)
    for number in range(warmup + rounds):
        names = list(steps)
        order.shuffle(names)
        for name in names:
            forward, backward = steps[name](clock)
            if number >= warmup:
                timings[name].forward.append(forward)
                timings[name].backward.append(backward)
    return timings


def saved_bytes(step: Step) -> int:
    """Bytes that a forward pass allocates and leaves behind for backward, beside its loss.

    The images and the parameters were there before and do not count; under autocast, what is kept
    of cast weights does. Exact at any load of the machine.
    """
    changes, loss = _allocations(step.forward, step.device)
    return sum(changes) - loss.untyped_storage().nbytes()


def peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """Largest memory of one step beyond what is there before it.

    On CUDA the allocator counts. On CPU the record of every allocation of torch's allocator is
    summed in order; what libraries such as oneDNN allocate themselves is not in it.
    """
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    return max(accumulate(_allocations(step, device)[0]), default=0)


def _allocations(call: Callable[[], _T], device: torch.device) -> tuple[list[int], _T]:
    """Bytes that ``call`` allocates and, negative, frees, in order; on CUDA the sum of them.

    Returns:
        They, and what ``call`` returns.
    """
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        result = call()
        return [torch.cuda.memory_allocated(device) - before], result
    gc.collect()  # what is freed now is not freed in between
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        result = call()
    changes = [e for e in profile.profiler.kineto_results.events() if e.name() == '[memory]']
    return [change.nbytes() for change in sorted(changes, key=lambda e: e.start_ns())], result


def median(values: list[float]) -> float:
    """Median of the rounds."""
    return statistics.median(values)


def spread(values: list[float]) -> float:
    """Half the range between the quartiles."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method='inclusive')
    return (high - low) / 2


@contextmanager
def precision(device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Autocast to ``dtype``, or nothing for float32."""
    if dtype == torch.float32:
        yield
        return
    with torch.autocast(device.type, dtype=dtype):
        yield
