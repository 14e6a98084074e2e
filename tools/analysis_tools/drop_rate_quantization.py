"""Print and plot what rounding the number of kept rows makes of a drop rate (Appendix C)."""

import argparse
import sys
from collections.abc import Sequence

import torch

from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.values import at_least, file
from cosub_mm.stochastic_depth import rounded_rate
from cosub_mm.stochastic_depth.rows.schedule import ROUNDINGS


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rates', type=float, nargs='+', default=[0.05, 0.1, 0.2, 0.45, 0.6])
    parser.add_argument(
        '--batch-sizes',
        type=int,
        nargs='+',
        default=[1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128],
        help='rows that a block sees on one GPU, copies included',
    )
    parser.add_argument(
        '--draws', type=at_least(1), default=2000, help='draws that `ours` is measured on'
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--out', type=file, help='write the plot to this file, e.g. rates.png')
    return parser.parse_args(argv)


def measure(args: argparse.Namespace) -> dict[tuple[float, str], list[float]]:
    """Realised rate by (asked rate, rounding), one value a batch size."""
    torch.manual_seed(args.seed)
    return {
        (rate, rounding): [
            rounded_rate(rate, batch, rounding, args.draws) for batch in args.batch_sizes
        ]
        for rate in args.rates
        for rounding in ROUNDINGS
    }


def plot(args: argparse.Namespace, realised: dict[tuple[float, str], list[float]]) -> None:
    """One panel an asked rate, one line a rounding."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(
        1, len(args.rates), figsize=(3.2 * len(args.rates), 3), sharex=True, squeeze=False
    )
    for panel, rate in zip(panels[0], args.rates):
        for rounding in ROUNDINGS:
            panel.plot(args.batch_sizes, realised[rate, rounding], 'o-', ms=3, label=rounding)
        panel.axhline(rate, color='grey', lw=0.8, ls=':')
        panel.set(title=f'asked {rate:g}', xlabel='rows', xscale='log')
    panels[0][0].set_ylabel('realised drop rate')
    panels[0][0].legend()
    figure.tight_layout()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.out, dpi=150)
    plt.close(figure)


def main(argv: Sequence[str] | None) -> None:
    """Print the table and, with --out, write the plot."""
    args = parse_args(argv)
    with user_errors('drawing the rows'):
        realised = measure(args)
    print(f'{"asked":>6} {"rows":>5} ' + ' '.join(f'{name:>8}' for name in ROUNDINGS))
    for rate in args.rates:
        for i, batch in enumerate(args.batch_sizes):
            values = ' '.join(f'{realised[rate, name][i]:8.3f}' for name in ROUNDINGS)
            print(f'{rate:6.2f} {batch:5d} {values}')
    if args.out:
        plot(args, realised)
        print(f'Plot: {args.out}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
