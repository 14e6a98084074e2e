"""The ways to drop branches side by side: rows of the table, and the plot."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..measure import Step, interleave, median, peak_bytes, precision, saved_bytes, spread
from .references import has_references
from .variants import VARIANTS, kept_share, make_variant, output_of

__all__ = ['Row', 'compare_at_rate', 'default_variants', 'make_step', 'plot', 'table']


@dataclass(frozen=True)
class Row:
    """One variant at one rate; ratios are to masking at that rate.

    Attributes:
        rate: drop rate asked for.
        variant: key of ``VARIANTS``.
        kept: kept rows over all rows, in the step whose bytes were counted.
        seconds: median of forward and of backward.
        time_ratio: median over rounds of step time over masking's.
        time_spread: half the range between the quartiles of those ratios.
        saved, peak: bytes.
        saved_ratio, peak_ratio: over masking's.
    """

    rate: float
    variant: str
    kept: float
    seconds: tuple[float, float]
    time_ratio: float
    time_spread: float
    saved: int
    saved_ratio: float
    peak: float
    peak_ratio: float


def default_variants(model: nn.Module) -> list[str]:
    """All that ``model`` can be compared by: the references are written for ViT blocks."""
    if has_references(model):
        return ['none', 'mask', 'index_add', 'dinov2', 'ours']
    return ['none', 'mask', 'subset', 'ours']


def compare_at_rate(
    model: nn.Module,
    x: Tensor,
    rate: float,
    variants: list[str],
    rounds: int,
    warmup: int,
    clock: Callable[[], float],
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    with_peak: bool = True,
) -> list[Row]:
    """Measure ``variants`` of ``model`` on the images ``x``; masking must be among them.

    ``rounds`` may be 0: then times are NaN and only bytes are measured. Without ``with_peak`` the
    peaks are NaN.
    """
    models = {v: make_variant(model, v, rate, compiled) for v in variants}
    steps = {v: make_step(m, x, dtype) for v, m in models.items()}
    if compiled:
        for step in steps.values():
            step()
    saved, peak, kept = {}, {}, {}
    for variant, step in steps.items():
        kept_share(models[variant], variant, rate, len(x))  # forget the steps so far
        saved[variant] = saved_bytes(step)
        kept[variant] = kept_share(models[variant], variant, rate, len(x))
        peak[variant] = peak_bytes(step, step.device) if with_peak else float('nan')
    timings = interleave(steps, rounds, warmup, clock) if rounds else None
    rows = []
    for v in variants:
        ratios = timings[v].ratios(timings['mask']) if timings else [float('nan')]
        seconds = (
            (median(timings[v].forward), median(timings[v].backward))
            if timings
            else (float('nan'), float('nan'))
        )
        rows.append(
            Row(
                rate,
                v,
                kept[v],
                seconds,
                median(ratios),
                spread(ratios),
                saved[v],
                saved[v] / saved['mask'],
                peak[v],
                peak[v] / peak['mask'],
            )
        )
    return rows


def table(rows: list[Row]) -> str:
    """The rows as markdown."""
    lines = [
        '| rate | variant | rows kept | forward s | backward s | step / masking | spread | '
        'saved MiB | saved / masking | peak MiB | peak / masking |',
        '|---|---|---|---|---|---|---|---|---|---|---|',
    ]
    for r in rows:
        cells = [
            f'{r.rate:g}',
            VARIANTS[r.variant],
            *(f'{value:.3f}' for value in (r.kept, *r.seconds, r.time_ratio)),
            f'±{r.time_spread:.3f}',
            f'{r.saved / 2**20:.1f}',
            f'{r.saved_ratio:.3f}',
            f'{r.peak / 2**20:.1f}',
            f'{r.peak_ratio:.3f}',
        ]
        lines.append(f'| {" | ".join(cells)} |'.replace('nan', '–'))
    return '\n'.join(lines)


def plot(rows: list[Row], title: str, path: Path) -> None:
    """Step time, saved bytes and peak memory over masking's, against the rate."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    panels = {
        'step time / masking': 'time_ratio',
        'saved for backward / masking': 'saved_ratio',
        'peak memory / masking': 'peak_ratio',
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(13, 4), layout='constrained')
    for axis, (label, attribute) in zip(axes, panels.items()):
        for variant in dict.fromkeys(row.variant for row in rows):
            mine = [row for row in rows if row.variant == variant]
            axis.errorbar(
                [row.rate for row in mine],
                [getattr(row, attribute) for row in mine],
                [row.time_spread if attribute == 'time_ratio' else 0 for row in mine],
                marker='o',
                label=VARIANTS[variant],
            )
        rates = sorted({row.rate for row in rows})
        axis.plot(rates, [1 - rate for rate in rates], 'k:', label='1 - rate')
        axis.set(xlabel='drop rate', ylabel=label)
    axes[0].legend(fontsize='small')
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def make_step(model: nn.Module, x: Tensor, dtype: torch.dtype) -> Step:
    """A step on the images ``x`` whose loss is the mean square of the model's last output."""

    def forward() -> Tensor:
        with precision(x.device, dtype):
            output = output_of(model, x)
        return output.float().square().mean()

    return Step(forward, list(model.parameters()), x.device)
