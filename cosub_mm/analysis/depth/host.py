"""What Python costs: time of a branch where the tensors are too small to matter."""

import copy
import math
import sys
import time
from collections.abc import Callable

import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cosub_mm.stochastic_depth import apply_stochastic_depth, remove_stochastic_depth

from ..measure import interleave, median, spread
from .references import put_drop_path, put_reference
from .side_by_side import make_step

__all__ = ['WAYS', 'count_host', 'count_table', 'measure_evaluation', 'measure_host', 'table']

WAYS: dict[str, Callable[[nn.Module, float], object]] = {
    'no drop path': lambda model, rate: None,
    "timm's DropPath": put_drop_path,
    "DINOv2's way": lambda model, rate: put_reference(model, 'dinov2', rate),
    'ours, masked': lambda model, rate: apply_stochastic_depth(model, rate, implementation='mask'),
    'ours, subset': lambda model, rate: apply_stochastic_depth(
        model, rate, implementation='subset'
    ),
}
_DEPTH, _ROWS = 12, 64


def measure_host(rate: float, rounds: int, warmup: int) -> dict[str, tuple[float, float, float]]:
    """Seconds of a forward pass, and of forward and backward, of a ViT of 8 channels.

    Twelve blocks, 64 rows, one thread; processor time of this process, in turns.

    Args:
        rate: drop rate of every branch.
        rounds: how many to time.
        warmup: rounds before.

    Returns:
        By way: smallest and median forward, smallest and median forward and backward.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, x = _model(), torch.randn(_ROWS, 3, 32, 32)
        steps = {}
        for name, put in WAYS.items():
            twin = copy.deepcopy(model).train()
            put(twin, rate)
            steps[name] = make_step(twin, x, torch.float32)
        timings = interleave(steps, rounds, warmup, time.process_time)
    finally:
        torch.set_num_threads(threads)
    return {
        name: (min(t.forward), median(t.forward), min(t.steps), median(t.steps))
        for name, t in timings.items()
    }


class _Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += 1
        return func(*args, **(kwargs or {}))


def count_host(rate: float) -> dict[str, tuple[int, int, int, int]]:
    """What the same pass calls, which is exact at any load of the machine.

    Args:
        rate: drop rate of every branch.

    Returns:
        By way: Python functions and operators of a forward pass, and of forward and backward.
    """
    model, x = _model(), torch.randn(_ROWS, 3, 32, 32)
    found = {}
    for name, put in WAYS.items():
        twin = copy.deepcopy(model).train()
        put(twin, rate)
        step = make_step(twin, x, torch.float32)
        step()  # what is done once
        forward, both = _counts(step.forward), _counts(step)
        found[name] = (*forward, *both)
    return found


def _counts(call: Callable[[], object]) -> tuple[int, int]:
    calls = 0

    def note(frame, event, argument) -> None:
        nonlocal calls
        calls += event == 'call'

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    with _Operators() as operators:
        call()
    return calls, operators.number


def measure_evaluation(rate: float, rounds: int, warmup: int) -> tuple[float, float]:
    """Time of the same ViT in evaluation with our stochastic depth, over the untouched model.

    One model, without, with and without again, so that neither drift nor a place in memory counts.

    Args:
        rate: drop rate of every branch.
        rounds: how many to time.
        warmup: rounds before.

    Returns:
        Median of the ratios round by round, and how far it is known: 95% of such medians lie within
        1.57 ranges between the quartiles by the root of the rounds (McGill et al., 1978).
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, x = _model(), torch.randn(_ROWS, 3, 32, 32)
        ratios = []
        for number in range(warmup + rounds):
            times = []
            for with_it in (False, True, False):
                # Put on each time: what a measurement follows shows in it, by .2% here.
                apply_stochastic_depth(model, rate, implementation='subset')
                if not with_it:
                    remove_stochastic_depth(model)
                times.append(_seconds(model.eval(), x))
                remove_stochastic_depth(model)
            if number >= warmup:
                ratios.append(2 * times[1] / (times[0] + times[2]))
    finally:
        torch.set_num_threads(threads)
    return median(ratios), 1.57 * 2 * spread(ratios) / math.sqrt(len(ratios))


def _model() -> nn.Module:
    return timm.create_model(
        'vit_tiny_patch16_224',
        depth=_DEPTH,
        embed_dim=8,
        num_heads=2,
        img_size=32,
        num_classes=2,
    )


@torch.no_grad()
def _seconds(model: nn.Module, x: torch.Tensor) -> float:
    """Least processor time of a few forward passes."""
    times = []
    for _ in range(9):
        start = time.process_time()
        model(x)
        times.append(time.process_time() - start)
    return min(times)


def count_table(counts: dict[str, tuple[int, ...]]) -> str:
    """Calls and operators of a branch above the model without drop path."""
    head = '| way | Python calls, forward | operators | calls, forward and backward | operators |'
    lines = [head, '|---|---|---|---|---|']
    base = counts['no drop path']
    for name, values in counts.items():
        cells = [f'{(a - b) / 2 / _DEPTH:+.1f}' for a, b in zip(values, base)]
        if name == 'no drop path':
            cells = [f'{value / 2 / _DEPTH:.1f} in all' for value in values]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def table(times: dict[str, tuple[float, ...]]) -> str:
    """Microseconds of a branch above the model without drop path, and those of its whole pass."""
    head = '| way | forward, least | median | forward and backward, least | median |'
    lines = [head, '|---|---|---|---|---|']
    branches = 2 * _DEPTH
    for name, values in times.items():
        base = times['no drop path']
        if name == 'no drop path':
            cells = [f'{1e6 * value / branches:.0f} in all' for value in values]
        else:
            cells = [f'{1e6 * (a - b) / branches:.1f}' for a, b in zip(values, base)]
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join(lines)
