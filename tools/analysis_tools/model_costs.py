"""Cost columns of the paper's Tables 11 and 12 for any config, on the machine at hand.

    python tools/analysis_tools/model_costs.py configs/cosub/vit-s_in1k.py

Parameters and FLOPs are counted; images a second and peak memory are measured at a batch of 256, or
at the largest that fits. The paper measured on a V100-32GB with mixed precision.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope

from cosub_mm.analysis.complexity import complexity, default_shape
from cosub_mm.analysis.inference_cost import measure_inference
from cosub_mm.analysis.machine import describe_machine
from cosub_mm.analysis.tables import draw, markdown, write_csv
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.values import at_least, device, folder
from cosub_mm.model_hub import leave_teacher_out

HEAD = ('config', 'params (M)', 'GFLOPs', 'images / s', 'peak memory (MB)', 'batch')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('configs', nargs='+', help='configs of classifiers')
    parser.add_argument(
        '--batch', type=at_least(1), default=256, help='images at once (256 in the paper)'
    )
    parser.add_argument('--rounds', type=at_least(1), default=5, help='timed passes')
    parser.add_argument(
        '--device', type=device, default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--out', type=folder, default='work_dirs/analysis', metavar='DIR')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> None:
    """Measure, print and write table and plot."""
    args = parse_args(argv)
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    rows, points = [], []
    for path in args.configs:
        with user_errors('building the model'):
            cfg = load_config(path)
            shape = default_shape(cfg)
            counted = complexity(cfg, shape)
            init_default_scope(cfg.get('default_scope', 'mmpretrain'))
            leave_teacher_out(cfg.model)
            cfg.model.backbone.pop('init_cfg', None)
            cfg.model.pop('train_cfg', None)
            model = MODELS.build(cfg.model).to(args.device).eval()
        cost = measure_inference(model, shape, args.batch, args.device, args.rounds)
        name = path.removeprefix('configs/').removesuffix('.py')
        rows.append(
            (
                name,
                f'{counted.params / 1e6:.1f}',
                f'{counted.flops / 1e9:.1f}',
                f'{cost.images_per_second:.1f}',
                f'{cost.peak_bytes / 1e6:.0f}',
                cost.batch,
            )
        )
        points.append((name, counted.flops / 1e9, cost.images_per_second))
        print(f'{name}: {cost.images_per_second:.1f} images / s, batch {cost.batch}', flush=True)
    text = '\n'.join([markdown(HEAD, rows), '', *describe_machine(torch.device(args.device))])
    write_csv(args.out / 'model_costs.csv', HEAD, rows)
    (args.out / 'model_costs.md').write_text(text + '\n', encoding='utf-8')

    def plot(axes) -> None:
        for name, flops, speed in points:
            axes.scatter(flops, speed, label=name)
        axes.set(xlabel='GFLOPs of an image', ylabel='images / s', xscale='log', yscale='log')
        axes.legend(fontsize='small')

    draw(args.out / 'model_costs.png', plot)
    print(f'\n{text}\nwritten to {args.out}')


if __name__ == '__main__':
    sys.exit(run_tool(main))
