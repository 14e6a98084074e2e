"""Try stochastic depth on models of timm, mmpretrain, mmseg, torchvision, transformers, ..."""

import argparse
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import mmpretrain
import mmseg
import timm
import torch

import cosub_mm  # noqa: F401  registers CosubViT
from cosub_mm.analysis.depth.coverage import (
    coverage_table,
    explain_equality,
    judge_all,
    read_tables,
)
from cosub_mm.analysis.depth.mm_models import mmpretrain_candidates, mmseg_candidates
from cosub_mm.analysis.depth.other_models import OTHER_SOURCES
from cosub_mm.analysis.depth.timm_models import timm_block_candidates, timm_candidates
from cosub_mm.launch.errors import run_tool

SOURCES = {
    'timm': timm_candidates,
    'timm-blocks': timm_block_candidates,
    'mmpretrain': mmpretrain_candidates,
    'mmseg': mmseg_candidates,
    **{name: candidates for name, (_, candidates) in OTHER_SOURCES.items()},
}
DOCUMENT = Path(__file__).parents[2] / 'docs/stochastic_depth_coverage.md'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Apply stochastic depth to one small model of every family, compare subset '
        'with mask in float64, and write the table. Exits with 1 if a model is handled wrongly.'
    )
    parser.add_argument('--library', choices=SOURCES, help='by default all')
    parser.add_argument('--families', nargs='+', default=[], help='by default all')
    parser.add_argument(
        '--update', action='store_true', help='with --families: put their rows into the document'
    )
    parser.add_argument(
        '--output', type=Path, default=DOCUMENT, help=f'markdown file; by default {DOCUMENT.name}'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None) -> int:
    args = parse_args(argv)
    warnings.simplefilter('ignore')
    if args.update and not args.output.exists():
        print(f'error: {args.output} is not there to be updated.', file=sys.stderr)
        return 2
    libraries = [args.library] if args.library else list(SOURCES)
    missing = [name for name in libraries if not _is_installed(name)]
    if missing:
        print(
            f'error: {", ".join(missing)} not installed: pip install -r requirements/coverage.txt '
            f'in an environment of its own, or choose another --library.',
            file=sys.stderr,
        )
        return 2
    only = set(args.families)
    verdicts = {
        name: list(judge_all(SOURCES[name](), only, name in OTHER_SOURCES)) for name in libraries
    }
    everything = [verdict for part in verdicts.values() for verdict in part]
    unknown = only - {verdict.family for verdict in everything}
    if unknown:
        print(f'error: no family is called {", ".join(sorted(unknown))}.', file=sys.stderr)
        return 2
    partial = bool(only or args.library)
    if args.update:
        verdicts = _merge(read_tables(args.output.read_text()), verdicts)
    sections = [coverage_table(f'{name} {_version(name)}', part) for name, part in verdicts.items()]
    if partial and not args.update:
        print('\n\n'.join(sections))
    else:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text('\n\n'.join([_head(), *sections]) + '\n')
        print(f'written: {args.output}')
    return int(any(verdict.status in ('wrong', 'half covered') for verdict in everything))


def _merge(old: dict[str, list], new: dict[str, list]) -> dict[str, list]:
    """Old verdicts with the new ones in the places of their families."""
    merged = {}
    for library in SOURCES:
        by_family = {v.family: v for v in (*old.get(library, []), *new.get(library, []))}
        merged[library] = [by_family[family] for family in sorted(by_family)]
    return merged


def _is_installed(name: str) -> bool:
    return name not in OTHER_SOURCES or importlib.util.find_spec(OTHER_SOURCES[name][0]) is not None


def _version(name: str) -> str:
    own = {'timm': timm, 'timm-blocks': timm, 'mmpretrain': mmpretrain, 'mmseg': mmseg}
    if name in own:
        return own[name].__version__
    if not _is_installed(name):
        return '(kept)'
    return getattr(importlib.import_module(OTHER_SOURCES[name][0]), '__version__', '')


def _head() -> str:
    return (
        '# Which models stochastic depth handles\n\n'
        'Made by `python tools/analysis_tools/coverage_stochastic_depth.py` '
        f'(torch {torch.__version__}): one small model for each family of timm, for each further '
        f'class of block with a DropPath that any of its models has, for each backbone of '
        f'mmpretrain and of mmseg, and for families of torchvision, transformers, mmdet, open_clip '
        f'and segmentation_models_pytorch (requirements/coverage.txt; mmdet without compiled mmcv '
        f'operations, which no backbone tried calls).\n\n{explain_equality()}'
    )


if __name__ == '__main__':
    sys.exit(run_tool(main))
