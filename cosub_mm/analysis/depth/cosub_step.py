"""What a cosub step costs, over a supervised step with masking on the same images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosub_mm.losses import cosub_loss
from cosub_mm.stochastic_depth import copy_batch_late

from ..measure import Step, interleave, median, peak_bytes, precision, saved_bytes, spread
from .variants import make_variant, output_of

__all__ = ['CosubRow', 'compare_at_rate', 'make_steps', 'table']

_COPIES = 2
_COST = {
    'late': 'cosub, batch copied late',
    'input': 'cosub, batch copied at the input',
}


@dataclass(frozen=True)
class CosubRow:
    """Costs at one rate, over the supervised masked step.

    Attributes:
        rate: drop rate.
        time, spread: step time by ``'late'`` and ``'input'``, and half the range between the
            quartiles over the rounds.
        saved, peak: bytes saved for backward, and peak bytes.
        late_over_input: step time of copying late over copying at the input, and its spread.
        reason: why the batch is not copied late, or an empty string.
    """

    rate: float
    time: dict[str, float]
    spread: dict[str, float]
    saved: dict[str, float]
    peak: dict[str, float]
    late_over_input: tuple[float, float]
    reason: str


def compare_at_rate(
    model: nn.Module,
    x: Tensor,
    rate: float,
    rounds: int,
    warmup: int,
    clock: Callable[[], float],
    dtype: torch.dtype = torch.float32,
    with_peak: bool = True,
) -> CosubRow:
    """Time the three steps in turns, on the images ``x``; without ``with_peak`` peaks are NaN."""
    steps, reason = make_steps(model, x, rate, dtype)
    saved = {name: saved_bytes(step) for name, step in steps.items()}
    peak = {
        n: peak_bytes(step, step.device) if with_peak else float('nan') for n, step in steps.items()
    }
    timings = interleave(steps, rounds, warmup, clock)
    base = timings['supervised']
    ratios = {name: timings[name].ratios(base) for name in _COST}
    saving = timings['late'].ratios(timings['input'])
    return CosubRow(
        rate,
        {name: median(values) for name, values in ratios.items()},
        {name: spread(values) for name, values in ratios.items()},
        {name: saved[name] / saved['supervised'] for name in _COST},
        {name: peak[name] / peak['supervised'] for name in _COST},
        (median(saving), spread(saving)),
        reason,
    )


def make_steps(
    model: nn.Module, x: Tensor, rate: float, dtype: torch.dtype, compiled: bool = False
) -> tuple[dict[str, Step], str]:
    """Steps ``'supervised'``, ``'late'`` and ``'input'``, and why the copy is not late."""
    masked = make_variant(model, 'mask', rate, compiled)
    ours = make_variant(model, 'ours', rate, compiled)
    with torch.no_grad(), precision(x.device, dtype):
        classes = _logits(output_of(masked, x[:2])).shape[-1]
    target = F.one_hot(torch.arange(len(x), device=x.device) % classes, classes).float()

    def supervised() -> Tensor:
        with precision(x.device, dtype):
            logits = _logits(output_of(masked, x))
        return F.binary_cross_entropy_with_logits(logits.float(), target)

    def late() -> Tensor:
        with precision(x.device, dtype), copy_batch_late(ours, x, _COPIES) as batch:
            logits = _logits(output_of(ours, batch.inputs))
        return _loss(logits, target)

    def at_input() -> Tensor:
        with precision(x.device, dtype):
            logits = _logits(output_of(ours, x.repeat(_COPIES, 1, 1, 1)))
        return _loss(logits, target)

    with precision(x.device, dtype), copy_batch_late(ours, x, _COPIES) as batch:
        reason = batch.reason
    forwards = {'supervised': supervised, 'late': late, 'input': at_input}
    parameters = list(model.parameters())
    return {name: Step(f, parameters, x.device) for name, f in forwards.items()}, reason


def table(rows: list[CosubRow]) -> str:
    """The rows as markdown."""
    lines = [
        '| rate | 2 (1 - rate) | step | time / supervised | spread | saved / supervised | '
        'peak / supervised | time / copied at the input |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for row in rows:
        for name, text in _COST.items():
            if name == 'late' and row.reason:
                text += f': refused, {row.reason}'
            saving = (
                f'{row.late_over_input[0]:.3f} ±{row.late_over_input[1]:.3f}'
                if name == 'late'
                else '1'
            )
            lines.append(
                f'| {row.rate:g} | {2 * (1 - row.rate):.2f} | {text} | {row.time[name]:.3f} | '
                f'±{row.spread[name]:.3f} | {row.saved[name]:.3f} | {row.peak[name]:.3f} | '
                f'{saving} |'.replace('nan', '–')
            )
    return '\n'.join(lines)


def _logits(output: Tensor) -> Tensor:
    """Scores (N, classes): a map or tokens are averaged over space."""
    return output if output.ndim == 2 else output.flatten(2).mean(-1)


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    return sum(cosub_loss(logits.float().unflatten(0, (_COPIES, len(target))), target).values())
