"""The setting of Table 7 on a GPU: ViT-S/16, L/16 and H/14 at 224, bfloat16, full memory."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..measure import Step, peak_bytes, spread
from .cosub_step import make_steps
from .side_by_side import make_step
from .variants import build_model, input_shape, make_variant

__all__ = ['SETTINGS', 'idle_share', 'largest_batch', 'row_writes', 'run']

SETTINGS = {
    'deit3_small_patch16_224': 0.05,
    'deit3_large_patch16_224': 0.45,
    'deit3_huge_patch14_224': 0.6,
}
"""Models of Table 7, the smallest and those that cosub costs most for, with the paper's rates."""

_VARIANTS = {
    'masking': ('mask', False),
    'masking, compiled': ('mask', True),
    'DINOv2-style subset': ('dinov2', False),
    'DINOv2-style subset, compiled': ('dinov2', True),
    'ours': ('ours', False),
    'ours, compiled': ('ours', True),
}
_MULTIPLE = 8
_CEILING = 4096


class _Cost(NamedTuple):
    seconds: list[float]
    peak: int
    idle: float  # share of a step in which the GPU computes nothing; nan on a CPU


def run(
    device: torch.device,
    rounds: int,
    warmup: int,
    settings: dict[str, float] = SETTINGS,
    ceiling: int = _CEILING,
    with_compile: bool = True,
) -> str:
    """Measure the models and return a section of markdown for each.

    The steps run one after the other, because each fills the memory; each is warmed up before. On
    CUDA attention must be flash attention: another kernel would be an error.

    Args:
        device: where; on a CPU, which has no memory to fill, ``ceiling`` is the batch.
        rounds: measured steps.
        warmup: steps before, at least 3 on CUDA.
        settings: drop rate by name of the model.
        ceiling: largest batch to try.
        with_compile: whether to measure compiled models too.
    """
    on_cuda = device.type == 'cuda'
    sections = []
    for name, rate in settings.items():
        torch.manual_seed(0)
        model = build_model(name).to(device)
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION) if on_cuda else nullcontext():
            bench = _Bench(model, rate, device, rounds, max(warmup, 3) if on_cuda else warmup)
            sections.append(_section(bench, name, ceiling, with_compile))
        print(sections[-1], flush=True)
        del model, bench
        _clear()
    sections.append(row_writes(device, max(rounds, 1), (min(ceiling, 256), 197, 1024)))
    print(sections[-1], flush=True)
    return '\n\n'.join(sections)


def largest_batch(fits: Callable[[int], bool], ceiling: int = _CEILING) -> int:
    """Largest multiple of 8 up to ``ceiling`` for which ``fits`` holds, by bisection.

    Raises:
        ValueError: not even 8 fit.
    """
    low, high = 0, ceiling // _MULTIPLE + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * _MULTIPLE) else (low, middle)
    if not low:
        raise ValueError(f'A batch of {_MULTIPLE} images does not fit into the memory.')
    return low * _MULTIPLE


class _Bench(NamedTuple):
    """One model and how it is measured."""

    model: nn.Module
    rate: float
    device: torch.device
    rounds: int
    warmup: int

    def images(self, batch: int) -> Tensor:
        return torch.randn(batch, *input_shape(self.model, None), device=self.device)

    def single(self, variant: str, compiled: bool) -> Callable[[int], Step]:
        """A supervised step, by the number of images."""
        twin = make_variant(self.model, variant, self.rate, compiled)
        return lambda batch: make_step(twin, self.images(batch), torch.bfloat16)

    def joint(self, which: str, compiled: bool) -> Callable[[int], Step]:
        """A cosub step or the supervised one beside it, by the number of images."""

        def build(batch: int) -> Step:
            x = self.images(batch)
            return make_steps(self.model, x, self.rate, torch.bfloat16, compiled)[0][which]

        return build

    def cost(self, step: Step) -> _Cost:
        for _ in range(self.warmup):
            step()
        _clear()
        peak = peak_bytes(step, step.device)
        return _Cost([sum(step()) for _ in range(self.rounds)], peak, _idle(step))


def _section(bench: _Bench, name: str, ceiling: int, with_compile: bool) -> str:
    batch = largest_batch(lambda size: _fits(bench.single('mask', False), size), ceiling)
    lines = [
        f'### {name}, drop rate {bench.rate}',
        '',
        '| step | images | seconds | spread | peak GiB | time ratio | memory ratio | idle |',
        '|---|---|---|---|---|---|---|---|',
    ]
    base = None
    for label, (variant, compiled) in _VARIANTS.items():
        if compiled and not with_compile:
            continue
        cost = bench.cost(bench.single(variant, compiled)(batch))
        base = base or cost
        lines.append(_line(label, batch, cost, base))
    both = min(batch, largest_batch(lambda size: _fits(bench.joint('late', False), size), batch))
    for compiled in (False, True) if with_compile else (False,):
        suffix = ', compiled' if compiled else ''
        base = bench.cost(bench.joint('supervised', compiled)(both))
        lines.append(_line(f'supervised, masking{suffix}', both, base, base))
        cost = bench.cost(bench.joint('late', compiled)(both))
        lines.append(_line(f'cosub, ours{suffix}', both, cost, base))
    kernels = _profile(bench.single('ours', False)(batch))
    lines += ['', 'Kernels of ours:', '', '```', kernels, '```']
    return '\n'.join(lines)


def _fits(build: Callable[[int], Step], batch: int) -> bool:
    try:
        build(batch)()
    except torch.OutOfMemoryError:
        return False
    finally:
        _clear()
    return True


def _line(label: str, batch: int, cost: _Cost, base: _Cost) -> str:
    seconds = statistics.median(cost.seconds)
    idle = '' if math.isnan(cost.idle) else f'{cost.idle:.1%}'
    return (
        f'| {label} | {batch} | {seconds:.3f} | ±{spread(cost.seconds):.3f} | '
        f'{cost.peak / 2**30:.1f} | {seconds / statistics.median(base.seconds):.3f} | '
        f'{cost.peak / base.peak:.3f} | {idle} |'
    )


def _profile(step: Step) -> str:
    """Where the time of one step goes, by kernel."""
    with torch.profiler.profile() as profile:
        step()
    device = 'device' if step.device.type == 'cuda' else 'cpu'
    return profile.key_averages().table(sort_by=f'self_{device}_time_total', row_limit=20)


def _idle(step: Step) -> float:
    """Share of a step, the profiler's own time in it, in which no kernel runs on the GPU."""
    if step.device.type != 'cuda':
        return math.nan
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        start = time.perf_counter()
        step()  # waits for the GPU
        elapsed = time.perf_counter() - start
    kernels = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    return idle_share([(e.time_range.start, e.time_range.end) for e in kernels], elapsed * 1e6)


def idle_share(busy: Sequence[tuple[float, float]], elapsed: float) -> float:
    """Share of ``elapsed`` that no interval covers.

    Args:
        busy: start and end of intervals, which may overlap.
        elapsed: the whole time, in the same unit.
    """
    covered, until = 0.0, -math.inf
    for start, end in sorted(busy):
        covered += max(end - max(start, until), 0.0)
        until = max(until, end)
    return 1 - covered / elapsed


def row_writes(device: torch.device, rounds: int, shape: tuple[int, int, int]) -> str:
    """Time of the ways to write kept rows among zeros, a table.

    Args:
        device: where.
        rounds: measured calls, in turns.
        shape: batch, tokens and width; four rows of five are kept.
    """
    lines = [
        '### Writing rows',
        '',
        '| way | precision | microseconds | ratio |',
        '|---|---|---|---|',
    ]
    for dtype in (torch.float32, torch.bfloat16):
        kept = torch.randperm(shape[0], device=device)[: max(shape[0] * 4 // 5, 1)]
        rows = torch.randn(len(kept), *shape[1:], device=device, dtype=dtype)
        ways = {name: partial(way, rows, kept, shape[0]) for name, way in WRITES.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(rounds + 3):
            for name, way in ways.items():
                spent = _seconds(way, device)
                if number >= 3:
                    seconds[name].append(spent)
        first = statistics.median(seconds['index_add_'])
        for name, spent in seconds.items():
            middle = statistics.median(spent)
            precision = str(dtype).removeprefix('torch.')
            lines.append(f'| {name} | {precision} | {middle * 1e6:.1f} | {middle / first:.2f} |')
    return '\n'.join(lines)


def _by_add(rows: Tensor, kept: Tensor, batch: int) -> Tensor:
    return rows.new_zeros((batch, *rows.shape[1:])).index_add_(0, kept, rows, alpha=1.25)


def _by_copy(rows: Tensor, kept: Tensor, batch: int) -> Tensor:
    return rows.new_zeros((batch, *rows.shape[1:])).index_copy_(0, kept, rows * 1.25)


def _by_put(rows: Tensor, kept: Tensor, batch: int) -> Tensor:
    return rows.new_zeros((batch, *rows.shape[1:])).index_put_((kept,), rows * 1.25)


WRITES = {'index_add_': _by_add, 'index_copy_': _by_copy, 'index_put_': _by_put}


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    call()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _clear() -> None:
    gc.collect()
    torch.cuda.empty_cache()
