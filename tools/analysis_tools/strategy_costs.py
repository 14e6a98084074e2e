"""What a training step of each strategy costs, beside the paper's Figure 2.

    python tools/analysis_tools/strategy_costs.py configs/study/*.py --batch 32

Give configs of one model, the supervised one first: all else is told as a multiple of it. Weights,
optimizer state and multiply-adds are counted; time is measured in turns; the peak of memory is that
of one step beyond weights and optimizer. A teacher has the student's size, as in Figure 2.
"""

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.logging import MMLogger

from cosub_mm.analysis.complexity import default_shape
from cosub_mm.analysis.machine import describe_machine
from cosub_mm.analysis.measure import interleave, median
from cosub_mm.analysis.strategy_cost import FIGURE_2, cost_of, trainee
from cosub_mm.analysis.tables import markdown, write_csv
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.values import at_least, device, folder

HEAD = (
    'config',
    'strategy',
    'weights',
    'optimizer',
    'compute',
    'time',
    'peak memory',
    'Figure 2: weights, optimizer, compute',
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', help='configs of one model, the supervised one first')
    parser.add_argument('--batch', type=at_least(1), default=32, help='images a step')
    parser.add_argument('--rounds', type=at_least(1), default=10, help='timed steps of each')
    parser.add_argument(
        '--device', type=device, default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--out', type=folder, default='work_dirs/analysis', metavar='DIR')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> None:
    """Count and measure, print and write the table."""
    args = parse_args(argv)
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    trained, kinds, sizes = {}, {}, set()
    for path in args.configs:
        with user_errors('building the model'):
            cfg = load_config(path)
            shape = default_shape(cfg)
            sizes.add((str(dict(cfg.model.backbone, init_cfg=None)), shape))
            name = Path(path).stem
            trained[name] = trainee(cfg, args.batch, shape[0], args.device)
            submodels = cfg.model.get('num_submodels', 1) > 1 and 'teacher_checkpoint' in cfg.model
            kinds[name] = f'{cfg.model.type}{", cosub" * submodels}'
    with user_errors('comparing the models'):
        if len(sizes) > 1:
            raise ValueError('the configs have different backbones: costs compare on one model.')
    costs = {name: cost_of(each) for name, each in trained.items()}
    clock = time.perf_counter if args.device == 'cuda' else time.process_time
    steps = {name: each.step for name, each in trained.items()}
    timings = interleave(steps, args.rounds, 2, clock)
    first = next(iter(costs))
    rows = []
    for name, cost in costs.items():
        shares = [f'x{a / b:.2f}' for a, b in zip(cost, costs[first])]
        ratio = f'x{median(timings[name].ratios(timings[first])):.2f}'
        figure = ', '.join(FIGURE_2.get(kinds[name], ('-',)))
        rows.append((name, kinds[name], *shares[:3], ratio, shares[3], figure))
    base = costs[first]
    text = '\n'.join(
        [
            markdown(HEAD, rows),
            '',
            f'{first}: {base.weights / 1e6:.2f} M weights, {base.optimizer / 1e6:.2f} M values of '
            f'the optimizer, {base.flops / 1e9:.2f} GFLOPs and {base.peak_bytes / 1e6:.0f} MB a '
            f'step of {args.batch} images, '
            f'{1000 * median(timings[first].steps):.0f} ms of '
            f'{"the GPU" if args.device == "cuda" else "processor time"}',
            *describe_machine(torch.device(args.device)),
        ]
    )
    write_csv(args.out / 'strategy_costs.csv', HEAD, rows)
    (args.out / 'strategy_costs.md').write_text(text + '\n', encoding='utf-8')
    print(f'{text}\nwritten to {args.out}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
