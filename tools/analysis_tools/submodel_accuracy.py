"""Figure 4 of the paper: accuracy of random submodels against the layers that they keep.

    python tools/analysis_tools/submodel_accuracy.py --model CONFIG CHECKPOINT LABEL [--model ...]

writes a table (submodels.md, submodels.csv) and a plot (submodels.png) with the mean and range of
the draws. Each model has the same draws.
"""

import argparse
import sys
from collections.abc import Sequence
from statistics import mean, stdev

import torch
from mmengine.registry import MODELS, init_default_scope

from cosub_mm.analysis.submodels import UNITS, accuracy, kept_parts, only, residual_parts
from cosub_mm.analysis.tables import draw, markdown, write_csv
from cosub_mm.engine.checkpoints import check_weights, load_checkpoint
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.config import check_task, load_config, set_dataloader_defaults
from cosub_mm.launch.errors import run_tool, user_errors
from cosub_mm.launch.values import at_least, device, folder
from cosub_mm.model_hub import leave_teacher_out

HEAD = ('model', 'parts kept', 'top-1 mean', 'std', 'least', 'most', 'draws')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('CONFIG', 'CHECKPOINT', 'LABEL'),
    )
    parser.add_argument('--unit', choices=UNITS, default='branch', help='what is left out at once')
    parser.add_argument(
        '--keep', nargs='+', type=at_least(0), help='parts kept; by default 8 values'
    )
    parser.add_argument(
        '--draws', type=at_least(1), default=5, help='random submodels of each size'
    )
    parser.add_argument('--images', type=at_least(1), help='test images used; by default all')
    parser.add_argument(
        '--no-scale', action='store_true', help='do not scale what is kept, as training does'
    )
    parser.add_argument(
        '--device', type=device, default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    parser.add_argument('--out', type=folder, default='work_dirs/analysis', metavar='DIR')
    return parser.parse_args(argv)


def build(config: str, checkpoint: str, device: str) -> tuple:
    """A classifier with its weights, and its test data loader."""
    cfg = load_config(config)
    check_task(cfg, 'classification')
    if not cfg.get('test_dataloader'):
        raise ValueError(f'{config} has no test_dataloader.')
    set_dataloader_defaults(cfg)
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    leave_teacher_out(cfg.model)
    cfg.model.backbone.pop('init_cfg', None)
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    model = MODELS.build(cfg.model)
    check_weights(checkpoint, model)
    model.load_state_dict(load_checkpoint(checkpoint)['state_dict'], strict=False)
    return model.to(device).eval(), CosubRunner.build_dataloader(cfg.test_dataloader, seed=0)


def default_sizes(parts: int) -> list[int]:
    """Eight sizes from a half of the parts to all."""
    return sorted({round(parts * share / 14) for share in range(7, 15)}, reverse=True)


def main(argv: Sequence[str] | None) -> None:
    """Test all submodels, print and write table and plot."""
    args = parse_args(argv)
    rows, curves = [], {}
    for config, checkpoint, label in args.model:
        with user_errors('building the model'):
            model, loader = build(config, checkpoint, args.device)
            parts = residual_parts(model.backbone, args.unit)
            parts = {name: [f'backbone.{end}' for end in ends] for name, ends in parts.items()}
            sizes = args.keep or default_sizes(len(parts))
            chosen = {
                keep: [kept_parts(parts, keep, number) for number in range(args.draws)]
                for keep in sizes
            }
        for keep, draws in chosen.items():
            draws = draws[:1] if keep in (0, len(parts)) else draws  # there is one only
            found = []
            for kept in draws:
                with only(model, parts, kept, not args.no_scale):
                    found.append(accuracy(model, loader, args.images))
            spread = stdev(found) if len(found) > 1 else 0.0
            numbers = (mean(found), spread, min(found), max(found))
            rows.append(
                (label, f'{keep} of {len(parts)}', *(f'{v:.2f}' for v in numbers), len(found))
            )
            curves.setdefault(label, []).append((keep, *numbers))
            print(f'{label}: {keep} of {len(parts)} kept, {numbers[0]:.2f} % (std {spread:.2f})')
    write_csv(args.out / 'submodels.csv', HEAD, rows)
    text = markdown(HEAD, rows)
    (args.out / 'submodels.md').write_text(text + '\n', encoding='utf-8')
    draw(args.out / 'submodels.png', lambda axes: plot(axes, curves, args.unit))
    print(f'\n{text}\n\nwritten to {args.out}')


def plot(axes, curves: dict[str, list[tuple]], unit: str) -> None:
    """A line a model, with the range of its draws."""
    for label, points in curves.items():
        keep, middle, _, low, high = zip(*points)
        (line,) = axes.plot(keep, middle, marker='.', label=label)
        axes.fill_between(keep, low, high, alpha=0.2, color=line.get_color())
    plural = {'branch': 'residual branches', 'block': 'blocks'}[unit]
    axes.set(xlabel=f'{plural} kept', ylabel='top-1 accuracy (%)')
    axes.legend()


if __name__ == '__main__':
    sys.exit(run_tool(main))
