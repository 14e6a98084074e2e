"""Print how to start a recipe on N GPUs with its global batch: batch, accumulation, workers."""

import argparse
import os
import sys
from collections.abc import Sequence

import cosub_mm  # noqa: F401  (registers)
from cosub_mm.analysis.training_memory import estimate_memory, way_of
from cosub_mm.checks.strategies import check_strategy
from cosub_mm.engine.batch_size import describe_batch, share_batch
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.values import at_least, positive


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--gpus', type=int, required=True, metavar='N', help='GPUs in all')
    parser.add_argument('--memory', type=positive, default=80, help='of a GPU in GB (default: 80)')
    parser.add_argument(
        '--largest', type=at_least(1), help='images a GPU takes; instead of an estimate'
    )
    parser.add_argument('--amp', action='store_true', help='estimate for bf16 mixed precision')
    parser.add_argument(
        '--cpus', type=at_least(1), help='cores for each GPU (default: this machine, 8)'
    )
    return parser.parse_args(argv)


def plan(args: argparse.Namespace) -> None:
    """Print the estimate, the batch and the command."""
    with user_errors('planning'):
        cfg = load_config(args.config)
        check_strategy(cfg)
        base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
        if args.gpus < 1 or not base:
            raise ValueError('--gpus must be 1 or more, and the config must name its global batch.')
        largest = args.largest
        if largest is None:
            memory = estimate_memory(cfg, args.amp, args.gpus)
            largest = memory.largest_batch(args.memory * 1e9)
            print(
                f'memory of a GPU (estimated on the CPU, {way_of(cfg)}): {memory.fixed / 1e9:.2f} '
                f'GB for weights, gradients, optimizer and average, {memory.per_image / 1e9:.3f} '
                f'GB an image; {largest} image(s) fit in {args.memory:g} GB with a fifth left over'
            )
            if way_of(cfg) != 'DDP':
                print(
                    f'not estimated: the time that {way_of(cfg)} takes to send, and what torch '
                    f'keeps for sending; where the fifth is too little, give --largest'
                )
        batch, steps = share_batch(base, args.gpus, largest)
    options = {'train_dataloader.batch_size': batch, 'optim_wrapper.accumulative_counts': steps}
    options['train_dataloader.num_workers'] = args.cpus or max(1, (os.cpu_count() or 8) // 8)
    cfg.merge_from_dict(options)
    print(describe_batch(cfg, args.gpus))
    words = ' '.join(f'{key}={value}' for key, value in options.items())
    amp = ' --amp bf16' if args.amp else ''
    print(f'tools/dist_train.sh {args.config} {args.gpus}{amp} --cfg-options {words}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` and return the exit code."""
    return run_tool(lambda line: plan(parse_args(line)), argv)


if __name__ == '__main__':
    sys.exit(main())
