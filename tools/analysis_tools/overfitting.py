"""Figure 5 of the paper: accuracy on one test set against another, for a list of checkpoints.

    python tools/analysis_tools/overfitting.py --run CONFIG CHECKPOINT LABEL [--run ...]
    python tools/analysis_tools/overfitting.py --metrics LABEL=metrics.json [...]

tests each checkpoint on the test images of its config (ImageNet's validation images and ImageNet-V2
in one pass), or reads what `tools/test.py --out metrics.json` wrote; fits a line, and draws the
paper's points beside it, labelled as the paper's. A model that overfits more lies below the line.
"""

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cosub_mm.analysis.tables import draw, markdown, write_csv
from cosub_mm.launch.arguments import test_arguments
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.run import test
from cosub_mm.launch.values import folder
from cosub_mm.model_hub import index_root

HEAD = ('model', 'x', 'y', 'above the line')
PAPER = {'ImageNet top-1': 0, 'ImageNet-V2 top-1': 1}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--run', nargs=3, action='append', default=[], metavar=('CONFIG', 'CHECKPOINT', 'LABEL')
    )
    parser.add_argument('--metrics', nargs='+', default=[], metavar='LABEL=FILE')
    parser.add_argument('--x', default='accuracy/top1', help='metric of the first test set')
    parser.add_argument('--y', default='accuracy/v2_top1', help='metric of the second')
    parser.add_argument('--no-paper', action='store_true', help="leave the paper's points out")
    parser.add_argument('--out', type=folder, default='work_dirs/analysis', metavar='DIR')
    return parser.parse_args(argv)


def paper_points(root: Path | None) -> dict[str, list[tuple[float, float]]]:
    """(validation, V2) of the paper's tables: a list for cosub and one for the baselines."""
    points: dict[str, list] = {'cosub (paper)': [], 'supervised (paper)': []}
    if root is None:
        return points
    found: dict[tuple, list] = {}
    with open(root / 'configs/paper_numbers.csv', newline='', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            if row['metric'] in PAPER and row['value']:
                pair = found.setdefault((row['config'], row['table']), [None, None])
                pair[PAPER[row['metric']]] = float(row['value'])
    for (config, _), pair in found.items():
        if None not in pair:
            kind = 'supervised' if config.startswith('baselines/') else 'cosub'
            points[f'{kind} (paper)'].append(tuple(pair))
    return points


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept of the least-squares line.

    Raises:
        ValueError: fewer than two different x.
    """
    x, y = np.array(points, dtype=float).T
    if len(set(x)) < 2:
        raise ValueError(
            f'{len(set(x))} different value(s) on the x-axis: a line needs two checkpoints of '
            f"different accuracy (the paper's points would do: leave --no-paper out)."
        )
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)


def measured(args: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """Label -> the two accuracies."""
    metrics = {label: test(test_arguments([config, file])) for config, file, label in args.run}
    for entry in args.metrics:
        label, equals, path = entry.partition('=')
        if not equals or not Path(path).is_file():
            raise ValueError(f'--metrics {entry}: give LABEL=FILE, a file of tools/test.py --out.')
        metrics[label] = json.loads(Path(path).read_text(encoding='utf-8'))
    points = {}
    for label, values in metrics.items():
        lacking = [name for name in (args.x, args.y) if name not in values]
        if lacking:
            raise ValueError(
                f'{label} has no {" and no ".join(lacking)}, only {", ".join(sorted(values))}: '
                f'choose by --x and --y.'
            )
        points[label] = (float(values[args.x]), float(values[args.y]))
    return points


def main(argv: Sequence[str] | None) -> None:
    """Test or read, fit, print and write table and plot."""
    args = parse_args(argv)
    with user_errors('reading the accuracies'):
        ours = measured(args)
        paper = {} if args.no_paper else paper_points(index_root())
        every = [*ours.values(), *(point for points in paper.values() for point in points)]
        if not every:
            raise ValueError('nothing to draw: give --run or --metrics, or leave --no-paper out.')
        # The line is that of the runs at hand where there are two; of the paper's otherwise.
        slope, intercept = fit(list(ours.values()) if len(ours) > 1 else every)
    rows = [
        (label, f'{x:.2f}', f'{y:.2f}', f'{y - slope * x - intercept:+.2f}')
        for label, (x, y) in [
            *ours.items(),
            *((label, point) for label, points in paper.items() for point in points),
        ]
    ]
    write_csv(args.out / 'overfitting.csv', HEAD, rows)
    text = f'{markdown(HEAD, rows)}\n\nline: y = {slope:.3f} x {intercept:+.2f}'
    (args.out / 'overfitting.md').write_text(text + '\n', encoding='utf-8')

    def plot(axes) -> None:
        for label, points in paper.items():
            axes.scatter(*zip(*points), s=12, marker='x', alpha=0.6, label=label)
        for label, point in ours.items():
            axes.scatter(*point, s=30, label=label)
        ends = np.array([min(x for x, _ in every), max(x for x, _ in every)])
        axes.plot(ends, slope * ends + intercept, linewidth=0.8, color='grey')
        axes.set(xlabel=args.x, ylabel=args.y)
        axes.legend(fontsize='small')

    draw(args.out / 'overfitting.png', plot)
    print(f'{text}\nwritten to {args.out}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
