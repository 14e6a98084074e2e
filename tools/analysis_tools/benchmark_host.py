"""Measure what the host does in a training iteration, beside the same step by hand."""

import argparse
import sys
from collections.abc import Sequence

import torch

from cosub_mm.analysis import iteration
from cosub_mm.analysis.machine import describe_machine
from cosub_mm.launch.errors import run_tool
from cosub_mm.launch.values import at_least


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Processor time of one iteration on tiny tensors, by part, in turns: ours '
        'through the Runner with all its hooks, and the same step by hand on timm (DropPath, '
        'mixup and cutmix, LAMB with foreach). It is the time that a GPU would wait for.'
    )
    parser.add_argument('--rounds', type=at_least(1), default=100)
    parser.add_argument('--warmup', type=at_least(1), default=3, help='rounds before')
    parser.add_argument(
        '--images', type=at_least(2), help='images a batch; default: 64, 2 of UperNet'
    )
    parser.add_argument(
        '--segmentation',
        action='store_true',
        help="UperNet without stochastic depth, beside mmseg's own in mmengine's Runner, and the "
        'memory of both with ViT-S on crops of 512 pixels (a minute)',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> int:
    args = parse_args(argv)
    print(
        '\n'.join([*describe_machine(torch.device('cpu')), f'command: python {" ".join(sys.argv)}'])
    )
    if args.segmentation:
        _segmentation(args.rounds, args.warmup, args.images or 2)
        return 0
    print('\nViT of 12 blocks, 8 channels, cosub, mixup or cutmix; milliseconds of an iteration\n')
    print(iteration.table(iteration.classification(args.rounds, args.warmup, args.images or 64)))
    return 0


def _segmentation(rounds: int, warmup: int, images: int) -> None:
    print('\nUperNet, ViT of 12 blocks, 8 channels, AdamW; milliseconds of an iteration\n')
    print(iteration.table(iteration.segmentation(rounds, warmup, images)))
    print('\nUperNet on ViT-S/16, 2 images of 512 x 512, float32: memory of an iteration beyond')
    print("weights, moments and what else is there before it, by torch's allocator\n")
    ours, theirs = iteration.segmentation_memory().items()
    for name, size in (ours, theirs):
        print(f'{name}: {size / 2**20:.0f} MiB')
    print(f'ratio: {ours[1] / theirs[1]:.3f}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
