"""Drop rates that a whole number of kept rows can realise."""

import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from cosub_mm.stochastic_depth.functional import draw_rows

__all__ = ['WAYS', 'Point', 'plot', 'realised_rates', 'table']

WAYS = ('round', 'floor', 'ours')


@dataclass(frozen=True)
class Point:
    """One rate at one batch size.

    Attributes:
        rate: asked for.
        batch: rows.
        realised: mean share of dropped rows, by way.
        deviation: standard deviation of ours from step to step.
    """

    rate: float
    batch: int
    realised: dict[str, float]
    deviation: float


def realised_rates(rates: list[float], batches: list[int], draws: int, seed: int) -> list[Point]:
    """Realised rates of each way; those of ours are the mean of ``draws`` draws of rows."""
    torch.manual_seed(seed)
    return [_point(rate, batch, draws) for rate in rates for batch in batches]


def table(points: list[Point]) -> str:
    """The points as markdown."""
    lines = [
        '| rate | rows | round (paper) | floor (DINOv2) | ours, mean | ours, deviation |',
        '|---|---|---|---|---|---|',
    ]
    lines += [
        f'| {p.rate:g} | {p.batch} | {p.realised["round"]:.3f} | {p.realised["floor"]:.3f} | '
        f'{p.realised["ours"]:.3f} | {p.deviation:.3f} |'
        for p in points
    ]
    return '\n'.join(lines)


def plot(points: list[Point], path: Path) -> None:
    """Realised rate over batch size, a panel for each way and a colour for each rate."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(WAYS), figsize=(12, 4), sharey=True, layout='constrained')
    for axis, way in zip(axes, WAYS):
        for number, rate in enumerate(dict.fromkeys(p.rate for p in points)):
            mine = [p for p in points if p.rate == rate]
            axis.axhline(rate, color=f'C{number % 10}', linestyle=':')
            axis.plot(
                [p.batch for p in mine],
                [p.realised[way] for p in mine],
                color=f'C{number % 10}',
                marker='.',
                label=f'{rate:g} asked',
            )
        axis.set(xscale='log', xlabel='rows in the batch', title=way)
    axes[0].set_ylabel('realised drop rate')
    axes[0].legend(fontsize='small')
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _point(rate: float, batch: int, draws: int) -> Point:
    kept = [_kept(batch, rate) for _ in range(draws)]
    realised = {
        'round': 1 - round(batch * (1 - rate)) / batch,
        'floor': 1 - max(int(batch * (1 - rate)), 1) / batch,
        'ours': 1 - statistics.fmean(kept) / batch,
    }
    return Point(rate, batch, realised, statistics.pstdev(kept) / batch)


def _kept(batch: int, rate: float) -> float:
    rows = draw_rows(batch, rate, 'cpu')
    return len(rows.index) if rows.weight is None else float(rows.weight.sum())
