"""Measure a training step of a segmentor with and without stochastic depth, and co-trained."""

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy

import torch
from mmengine.config import Config

from cosub_mm.analysis.step_cost import measure_segmentation_step
from cosub_mm.launch.config import check_task, load_config
from cosub_mm.launch.errors import UserError, run_tool, user_errors
from cosub_mm.launch.overrides import OverrideAction
from cosub_mm.launch.values import at_least, device


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Step time and memory of a segmentor on random images: without stochastic '
        'depth, with blocks masked (computed and thrown away), with blocks skipped (ours), and '
        'co-trained (two submodels an image).'
    )
    parser.add_argument('config', help='config of an EncoderDecoder or CosubSegmentor')
    parser.add_argument('--drop-rate', type=float, help="default: the config's rate")
    parser.add_argument('--batch', type=at_least(1), default=2, help='images a step (default: 2)')
    parser.add_argument(
        '--crop', type=at_least(1), default=512, help='side of an image (default: 512)'
    )
    parser.add_argument('--steps', type=at_least(1), default=5, help='measured steps (default: 5)')
    parser.add_argument(
        '--device',
        type=device,
        choices=('cpu', 'cuda'),
        default='cuda' if torch.cuda.is_available() else 'cpu',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=OverrideAction, help='key=value settings'
    )
    return parser.parse_args(argv)


def variants(cfg: Config, rate: float) -> dict[str, Config]:
    """The same network under each training."""
    settings = {
        'no stochastic depth': ('EncoderDecoder', 0.0, 'auto'),
        'masked': ('EncoderDecoder', rate, 'mask'),
        'skipped': ('EncoderDecoder', rate, 'subset'),
        'co-trained, masked': ('CosubSegmentor', rate, 'mask'),
        'co-trained, skipped': ('CosubSegmentor', rate, 'subset'),
    }
    return {
        name: _variant(cfg, kind, rate, implementation)
        for name, (kind, rate, implementation) in settings.items()
    }


def _variant(cfg: Config, kind: str, rate: float, implementation: str) -> Config:
    cfg = deepcopy(cfg)
    for key in ('num_submodels', 'lam', 'drop_path_rate', 'implementation'):
        cfg.model.pop(key, None)
    cfg.model.type = kind
    inner = cfg.model.backbone
    inner.pop('init_cfg', None)
    inner.drop_path_rate = 0.0
    if rate:
        cfg.model.backbone = dict(
            type='mmpretrain.CosubBackbone',
            backbone=inner,
            drop_path_rate=rate,
            implementation=implementation,
        )
    if kind == 'CosubSegmentor':
        cfg.model.implementation = implementation
    return cfg


def main(argv: Sequence[str] | None) -> None:
    """Print a row for each kind of training."""
    args = parse_args(argv)
    with user_errors('reading the config'):
        cfg = load_config(args.config, args.cfg_options)
        check_task(cfg, 'segmentation')
    rate = args.drop_rate
    if rate is None:
        rate = cfg.model.get('drop_path_rate') or cfg.model.backbone.get('drop_path_rate', 0)
    if not 0 < rate < 1:
        raise UserError(f'--drop-rate {rate} must lie between 0 and 1.')
    print(
        f'{args.config}, {args.batch} images of {args.crop}x{args.crop}, drop rate {rate}, '
        f'{args.device}, torch {torch.__version__}, {torch.get_num_threads()} threads'
    )
    print(f'{"training":<24}{"s/step":>9}{"ratio":>8}{"GB":>8}{"ratio":>8}')
    first = None
    for name, variant in variants(cfg, rate).items():
        cost = measure_segmentation_step(variant, args.batch, args.crop, args.steps, args.device)
        first = first or cost
        print(
            f'{name:<24}{cost.seconds:>9.3f}{cost.seconds / first.seconds:>8.2f}'
            f'{cost.peak_bytes / 1e9:>8.2f}{cost.peak_bytes / first.peak_bytes:>8.2f}',
            flush=True,
        )


if __name__ == '__main__':
    sys.exit(run_tool(main))
