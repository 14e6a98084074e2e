"""Convert weights between timm, the official DeiT repository and mmpretrain's classifiers."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from cosub_mm.architectures.convert import family_of, to_deit, to_mmpretrain, to_timm
from cosub_mm.architectures.position_grid import check_grid, noted_grid
from cosub_mm.engine.checkpoints import (
    RAW,
    UNKNOWN,
    add_trust_argument,
    add_weights_arguments,
    choose_weights,
    load_checkpoint,
    match_weights,
    trusting,
    wanted_kind,
)
from cosub_mm.launch.config import load_config
from cosub_mm.launch.errors import UserError, run_tool, user_errors
from cosub_mm.launch.outputs import check_new_file
from cosub_mm.whole_files import replacing

HUB = 'timm:'
EXAMPLES = """\
examples:
  a file of timm or of facebookresearch/deit
    python tools/model_converters/convert.py deit_3_base_224_21k.pth vit-b.pth --to mmpretrain
  by name from timm's hub, held against a config
    python tools/model_converters/convert.py timm:deit3_base_patch16_224 vit-b.pth \\
        --to mmpretrain --config configs/cosub/vit-b_in1k.py
  a trained model of ours for timm (or the DeiT repository: --to deit)
    python tools/model_converters/convert.py work_dirs/vit-b_in1k/epoch_800.pth out.pth --to timm

ViT, Swin, ConvNeXt, ResNet and XCiT; other timm models run in CosubTIMMBackbone as they are.
"""
TARGETS = {'mmpretrain': to_mmpretrain, 'timm': to_timm, 'deit': to_deit}


def read(
    source: str, want: str | None = None, key: str | None = None
) -> tuple[dict[str, torch.Tensor], str]:
    """Tensors of a file, or of a model of timm's hub.

    Args:
        source: path of a ``.pth`` file, or ``timm:NAME``.
        want: 'averaged' or 'raw'; None takes the raw weights where there are both.
        key: where the file keeps the weights; goes before ``want``.

    Returns:
        The tensors; 'averaged', 'raw' or 'unknown'.
    """
    if source.startswith(HUB):
        if want or key:
            raise UserError("a model of timm's hub is one set of weights: leave the choice out.")
        return _from_hub(source.removeprefix(HUB)), UNKNOWN
    weights = choose_weights(load_checkpoint(source, verify=True), source, want, key, default=RAW)
    print(f'{source}: {weights}')
    return weights.tensors, weights.kind


def check_against(config: str, weights: dict[str, torch.Tensor]) -> str:
    """Compare converted weights with the model of a config; a report, or an error.

    Raises:
        UserError: a tensor outside the head is missing or of another shape.
    """
    cfg = load_config(config)
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('init_cfg', None)
    match = match_weights(MODELS.build(cfg.model), weights)
    unfit = [name for name in match.missing + match.other_shape if name.startswith('backbone.')]
    unfit = [name for name in unfit if not name.endswith('relative_position_index')]
    if unfit or match.unexpected:
        raise UserError(
            f'these weights are of another architecture or patch size than {config}: {match}.'
        )
    return str(match)


def _from_hub(name: str) -> dict[str, torch.Tensor]:
    import timm

    if not timm.is_model(name):
        raise UserError(f"timm has no model '{name}'; timm.list_pretrained() names all.")
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:
        raise UserError(
            f"the weights of '{name}' cannot be loaded from timm's hub ({error}). Without a "
            f'network, give the path of a downloaded file.'
        ) from error


def _positions(weights: dict[str, torch.Tensor]) -> str:
    """What the converted ViT says of its position embedding, or what will be assumed."""
    module = 'backbone' if 'backbone.pos_embed' in weights else ''
    grid = noted_grid(getattr(weights, '_metadata', {}).get(module))
    if grid is not None:
        return f'position embedding: {grid[0]}x{grid[1]} patches, which the file says'
    tokens = weights['backbone.pos_embed' if module else 'pos_embed'].shape[1]
    return (
        f'position embedding: {tokens} entries; the weights do not say for which grid, and it will '
        f'be taken for square (otherwise: --grid ROWS COLUMNS)'
    )


def convert(argv: Sequence[str] | None) -> None:
    """Parse the command line, convert and write."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', help='a .pth file, or timm:NAME for a model of the hub')
    parser.add_argument('target', type=Path, help='.pth file to write')
    parser.add_argument('--to', required=True, choices=TARGETS, help='names to write')
    add_trust_argument(parser)
    add_weights_arguments(parser, 'the raw ones')
    parser.add_argument(
        '--grid',
        type=int,
        nargs=2,
        metavar=('ROWS', 'COLUMNS'),
        help="patches that a ViT's position embedding is for, where it is not square",
    )
    parser.add_argument('--config', help='compare the result with the model of this config')
    args = parser.parse_args(argv)
    if args.config is not None and args.to != 'mmpretrain':
        raise UserError('--config compares with a model of mmpretrain: it needs --to mmpretrain.')
    with user_errors('looking at the target'):
        check_new_file(args.target, 'target')
    with user_errors(f'converting {args.source}'), trusting(args.trust_checkpoint):
        weights, kind = read(args.source, wanted_kind(args), args.weights_key)
        grid = check_grid(args.grid, '--grid')
        family = family_of(to_mmpretrain(weights, grid))[0]
        library = family_of(weights)[1]
        result = to_mmpretrain(weights, grid) if grid else weights
        result = TARGETS[args.to](result)
    if args.config is not None:
        with user_errors(f'comparing with {args.config}'):
            print(check_against(args.config, result))
    args.target.parent.mkdir(parents=True, exist_ok=True)
    wrapper = 'model' if args.to == 'deit' else 'state_dict'
    with replacing(args.target) as part:
        torch.save(result if args.to == 'timm' else {wrapper: result}, part)
    if family == 'vit':
        print(_positions(result))
    source = 'timm or DeiT' if library == 'timm' else 'mmpretrain'
    kind = '' if kind == UNKNOWN else f'{kind} '
    print(f'{family}: {len(result)} {kind}tensors from {source} to {args.to}: {args.target}')


if __name__ == '__main__':
    sys.exit(run_tool(convert))
