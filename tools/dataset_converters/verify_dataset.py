"""Read every file of the data sets of a config and write a report of what is broken."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.utils import ProgressBar

import cosub_mm  # noqa: F401  (registers)
from cosub_mm.checks.every_file import named_datasets, prepare, verify
from cosub_mm.datasets.decoding import allow_pixels
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import UserError, run_tool, user_errors
from cosub_mm.launch.overrides import OverrideAction
from cosub_mm.launch.values import at_least, file


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Decode every image and mask of any classification or segmentation config, '
        'compare sizes, labels and classes, and report what is broken. Exit code 1 if anything is.'
    )
    parser.add_argument('config', type=Path, help='config file')
    parser.add_argument(
        '--report', type=file, default='verify_report.txt', help='where to write the report'
    )
    parser.add_argument(
        '--workers', type=at_least(1), default=4, help='threads that decode (default: 4)'
    )
    parser.add_argument(
        '--max-image-pixels',
        type=at_least(1),
        metavar='N',
        help='decode pictures of up to N pixels',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OverrideAction, help='key=value settings'
    )
    return parser.parse_args(argv)


def progress(total: int) -> Callable[[], None]:
    return ProgressBar(total).update if total else lambda: None


def main(argv: Sequence[str] | None) -> int:
    """Verify; 1 if files are broken."""
    args = parse_args(argv)
    with user_errors('reading the config'):
        cfg = load_config(str(args.config), args.cfg_options)
        num_classes = prepare(cfg)
    allow_pixels(args.max_image_pixels)
    reports = []
    for name, dataset in named_datasets(cfg):
        print(name)
        reports.append(verify(name, dataset, num_classes, args.workers, progress))
        print()
    if not reports:
        raise UserError(f'{args.config} has no dataloader.')
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text('\n'.join(map(str, reports)) + '\n')
    for report in reports:
        print(str(report).splitlines()[0])
        for note in report.notes:
            print(f'  note: {note}')
    broken = sum(len(report.broken) for report in reports)
    print(f'{broken:,} broken, listed in {args.report}' if broken else 'Nothing is broken.')
    return int(bool(broken))


if __name__ == '__main__':
    sys.exit(run_tool(main))
