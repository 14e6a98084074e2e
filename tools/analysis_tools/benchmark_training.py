r"""Images a second of a whole training, beside timm's parts in a loop by hand.

    python tools/analysis_tools/benchmark_training.py configs/cosub/vit-s_in1k.py \
        --timm deit3_small_patch16_224 --work-dir work_dirs/whole --batch-size 256 --workers 16

makes pictures of photographs' size once, trains on them by tools/train.py with all its hooks until
--windows lines of ten iterations are in its log, and then by hand: timm's loader and model with
DropPath, mixup or cutmix, LAMB, cosub. One after the other, in turns: each needs the whole machine.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import torch

from cosub_mm.analysis.machine import describe_machine
from cosub_mm.analysis.whole_training import by_timm, images_a_second, make_images, ours
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import UserError, run_tool, user_errors
from cosub_mm.launch.values import at_least, folder


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='of cosub on ImageNet-1k, from the root of the repository')
    parser.add_argument('--timm', required=True, help="the same model's name in timm")
    parser.add_argument('--work-dir', type=folder, required=True, help='for pictures and trainings')
    parser.add_argument('--images', type=int, default=20_000, help='pictures, at least an epoch')
    parser.add_argument(
        '--side', type=at_least(1), default=500, help='longer side of a picture, in pixels'
    )
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--workers', type=at_least(0), default=16, help='loading processes')
    parser.add_argument('--windows', type=int, default=9, help='times ten iterations')
    parser.add_argument('--rounds', type=int, default=2, help='of each, in turns')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='more settings')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> None:
    """Make the pictures, train both ways in turns and print the rates."""
    args = parse_args(argv)
    if args.batch_size < 2 or args.batch_size % 2 or min(args.windows, args.rounds) < 1:
        raise UserError(
            '--batch-size must be even and positive, --windows and --rounds at least 1.'
        )
    if args.images < max(args.batch_size, 1000):
        raise UserError('--images must be at least --batch-size, and 1000: one of each class.')
    with user_errors('reading the config'):
        rate = load_config(args.config).model.drop_path_rate
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    print('\n'.join([*describe_machine(torch.device(device)), f'command: {" ".join(sys.argv)}']))
    data = args.work_dir / 'pictures'
    make_images(data, args.images, side=args.side)
    print(f'{args.images} pictures in {data}; trainings in {args.work_dir}', flush=True)
    rates: dict[str, list[float]] = {'tools/train.py': [], 'by hand on timm': []}
    options = [
        f'train_dataloader.batch_size={args.batch_size}',
        f'train_dataloader.num_workers={args.workers}',
        f'train_dataloader.persistent_workers={args.workers > 0}',
        *args.cfg_options,
    ]
    for number in range(args.rounds):
        work_dir = args.work_dir / f'run_{number}'
        seconds = ours(args.config, data, work_dir, args.windows, device == 'cuda', options)
        rates['tools/train.py'].append(images_a_second(seconds, args.batch_size))
        # In a process of its own: it frees the device, and may have loading processes.
        with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
            settings = (args.batch_size, args.workers, rate, args.windows, device)
            seconds = pool.submit(by_timm, args.timm, data, *settings).result()
        rates['by hand on timm'].append(images_a_second(seconds, args.batch_size))
        for name, found in rates.items():
            print(f'round {number + 1}, {name}: {found[-1]:.1f} images/s', flush=True)
    mine, theirs = (median(found) for found in rates.values())
    print(f'tools/train.py over by hand on timm: {mine / theirs:.3f}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
