"""Print and plot the drop rate that rounding the number of kept rows leaves (Appendix C)."""

import argparse
import sys
from pathlib import Path

from depth_tools.quantisation import WAYS, plot, realised_rates, table

BATCHES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Realised against asked drop rate over batch size: round (section 4 of the '
        'paper), floor with at least one row (DINOv2), and ours, whose mean is exact. Cosub '
        'doubles the batch: count the copies as rows.'
    )
    parser.add_argument('--rates', nargs='+', type=float, default=[0.05, 0.1, 0.2, 0.45, 0.6])
    parser.add_argument('--batch-sizes', nargs='+', type=int, default=BATCHES, help='rows')
    parser.add_argument(
        '--draws', type=int, default=2000, help="draws that ours' mean and deviation are over"
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--output', type=Path, help='folder for the table (.md) and plot (.png)')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    if any(not 0 <= rate < 1 for rate in args.rates):
        print(f'error: --rates {args.rates}: each must lie in [0, 1).', file=sys.stderr)
        return 2
    if min(*args.batch_sizes, args.draws, args.batch_sizes[0]) < 1:
        print('error: --batch-sizes and --draws must be at least 1.', file=sys.stderr)
        return 2
    points = realised_rates(args.rates, args.batch_sizes, args.draws, args.seed)
    text = table(points)
    print(text)
    worst = {way: max(points, key=lambda p: abs(p.realised[way] - p.rate)) for way in WAYS}
    for way, point in worst.items():
        print(
            f'largest error of {way}: {point.realised[way] - point.rate:+.3f} at rate '
            f'{point.rate:g}, {point.batch} rows'
        )
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        document = args.output / 'drop_rate_quantisation.md'
        document.write_text(text + '\n')
        plot(points, document.with_suffix('.png'))
        print(f'written: {document} and {document.with_suffix(".png").name}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
