"""Time and memory from the start of tools/train.py to its first step, on a data set of any size.

    python tools/analysis_tools/benchmark_startup.py work_dirs/startup --images 14197122

makes a data set of as many small pictures and classes as ImageNet-21k has in FOLDER (one shard
under many names: half a gigabyte, most of it the index), starts the training of CONFIG on it and
stops it at its first step. Delete FOLDER afterwards.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from cosub_mm.analysis.startup import first_step, make_shards
from cosub_mm.launch.errors import UserError, run_tool
from cosub_mm.launch.values import at_least, folder, positive

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/cosub/vit-s_in21k.py'


def main(argv: Sequence[str] | None) -> None:
    """Parse the command line, make what is missing, measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=folder, help='where the data set is, or is made')
    parser.add_argument('--config', default=CONFIG, help=f'default: {CONFIG}')
    parser.add_argument('--classes', type=at_least(1), default=21841)
    parser.add_argument('--images', type=at_least(1), default=14_197_122)
    parser.add_argument(
        '--batch-size', type=at_least(1), default=2, help='small: a step is not measured'
    )
    parser.add_argument('--workers', type=at_least(0), default=2, help='loading processes')
    parser.add_argument(
        '--rounds', type=at_least(1), default=2, help='starts; the first may write caches'
    )
    parser.add_argument(
        '--timeout', type=positive, default=900, help='seconds to wait for the step'
    )
    parser.add_argument('--cfg-options', nargs='+', default=[], help='more settings')
    args = parser.parse_args(argv)
    if args.images < args.classes:
        raise UserError(f'--images {args.images} is less than one for each of --classes')
    data = args.folder / 'data'
    make_shards(data, args.classes, args.images)
    print(f'{args.images:,} images of {args.classes:,} classes in {data}', flush=True)
    for number in range(args.rounds):
        work_dir = args.folder / f'run_{number}'
        start = first_step(_command(args, data, work_dir), work_dir, args.timeout)
        print(f'start {number + 1}: {start}', flush=True)


def _command(args: argparse.Namespace, data: Path, work_dir: Path) -> list[str]:
    settings = [
        f'train_dataloader.batch_size={args.batch_size}',
        f'train_dataloader.num_workers={args.workers}',
        f'train_dataloader.persistent_workers={args.workers > 0}',
        f'model.head.num_classes={args.classes}',
        f'data_preprocessor.num_classes={args.classes}',
        'auto_scale_lr=None',  # the learning rate does not matter
        'default_hooks.logger.interval=1',
        *args.cfg_options,
    ]
    tool = [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / args.config)]
    folders = ['--data-root', str(data), '--work-dir', str(work_dir), '--overwrite']
    return [*tool, *folders, '--cfg-options', *settings]


if __name__ == '__main__':
    sys.exit(run_tool(main))
