"""The setting of Table 7 on a GPU: ViT-L/16 and ViT-H/14 at 224, bfloat16, full memory."""

import gc
import statistics
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cosub_step import make_steps
from .measure import Step, spread
from .side_by_side import make_step
from .variants import build_model, make_variant

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


def run(device: torch.device, rounds: int, warmup: int) -> str:
    """Measure both models and return a section of markdown for each.

    The steps run one after the other, because each fills the memory; each is warmed up before.
    """
    sections = []
    for name, rate in SETTINGS.items():
        torch.manual_seed(0)
        model = build_model(name).to(device)
        sections.append(_section(model, name, rate, device, rounds, max(warmup, 3)))
        print(sections[-1], flush=True)
        del model
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


def _section(
    model: nn.Module, name: str, rate: float, device: torch.device, rounds: int, warmup: int
) -> str:
    def single(variant: str, compiled: bool) -> Callable[[int], Step]:
        twin = make_variant(model, variant, rate, compiled)
        return lambda batch: make_step(twin, _images(batch, device), torch.bfloat16)

    def joint(which: str, compiled: bool) -> Callable[[int], Step]:
        def build(batch: int) -> Step:
            x = _images(batch, device)
            return make_steps(model, x, rate, torch.bfloat16, compiled)[0][which]

        return build

    batch = largest_batch(lambda size: _fits(single('mask', False), size))
    lines = [
        f'### {name}, drop rate {rate}',
        '',
        '| step | images | seconds | spread | peak GiB | time ratio | memory ratio |',
        '|---|---|---|---|---|---|---|',
    ]
    base = None
    for label, (variant, compiled) in _VARIANTS.items():
        cost = _cost(single(variant, compiled)(batch), rounds, warmup)
        base = base or cost
        lines.append(_line(label, batch, cost, base))
    both = min(batch, largest_batch(lambda size: _fits(joint('late', False), size), batch))
    for compiled in (False, True):
        suffix = ', compiled' if compiled else ''
        base = _cost(joint('supervised', compiled)(both), rounds, warmup)
        lines.append(_line(f'supervised, masking{suffix}', both, base, base))
        cost = _cost(joint('late', compiled)(both), rounds, warmup)
        lines.append(_line(f'cosub, ours{suffix}', both, cost, base))
    lines += ['', 'Kernels of ours:', '', '```', _profile(single('ours', False)(batch)), '```']
    return '\n'.join(lines)


def _images(batch: int, device: torch.device) -> Tensor:
    return torch.randn(batch, 3, 224, 224, device=device)


def _fits(build: Callable[[int], Step], batch: int) -> bool:
    try:
        build(batch)()
    except torch.cuda.OutOfMemoryError:
        return False
    finally:
        _clear()
    return True


def _cost(step: Step, rounds: int, warmup: int) -> _Cost:
    for _ in range(warmup):
        step()
    _clear()
    torch.cuda.reset_peak_memory_stats(step.device)
    seconds = [sum(step()) for _ in range(rounds)]
    return _Cost(seconds, torch.cuda.max_memory_allocated(step.device))


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
    return profile.key_averages().table(sort_by='self_device_time_total', row_limit=20)


def _clear() -> None:
    gc.collect()
    torch.cuda.empty_cache()
