"""The setting of Table 7 on a GPU: ViT-L/16 and ViT-H/14 at 224, bfloat16, full memory."""

import gc
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..measure import Step, peak_bytes, spread
from .cosub_step import make_steps
from .side_by_side import make_step
from .variants import build_model, input_shape, make_variant

__all__ = ['SETTINGS', 'largest_batch', 'run']

SETTINGS = {'deit3_large_patch16_224': 0.45, 'deit3_huge_patch14_224': 0.6}
"""Models of Table 7 that cosub costs most for, with the drop rates of the paper."""

_VARIANTS = {
    'masking': ('mask', False),
    'masking, compiled': ('mask', True),
    'DINOv2-style subset': ('dinov2', False),
    'ours': ('ours', False),
    'ours, compiled': ('ours', True),
}
_MULTIPLE = 8
_CEILING = 4096


class _Cost(NamedTuple):
    seconds: list[float]
    peak: int


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
        return _Cost([sum(step()) for _ in range(self.rounds)], peak)


def _section(bench: _Bench, name: str, ceiling: int, with_compile: bool) -> str:
    batch = largest_batch(lambda size: _fits(bench.single('mask', False), size), ceiling)
    lines = [
        f'### {name}, drop rate {bench.rate}',
        '',
        '| step | images | seconds | spread | peak GiB | time ratio | memory ratio |',
        '|---|---|---|---|---|---|---|',
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
    return (
        f'| {label} | {batch} | {seconds:.3f} | ±{spread(cost.seconds):.3f} | '
        f'{cost.peak / 2**30:.1f} | {seconds / statistics.median(base.seconds):.3f} | '
        f'{cost.peak / base.peak:.3f} |'
    )


def _profile(step: Step) -> str:
    """Where the time of one step goes, by kernel."""
    with torch.profiler.profile() as profile:
        step()
    device = 'device' if step.device.type == 'cuda' else 'cpu'
    return profile.key_averages().table(sort_by=f'self_{device}_time_total', row_limit=20)


def _clear() -> None:
    gc.collect()
    torch.cuda.empty_cache()
