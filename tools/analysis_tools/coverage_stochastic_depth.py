"""Try stochastic depth on models of timm, mmpretrain, mmseg, torchvision, transformers, ..."""

import argparse
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

import cosub_mm  # noqa: F401  registers CosubViT
from cosub_mm.analysis.depth.coverage import (
    coverage_table,
    explain_equality,
    judge_all,
    read_tables,
)
from cosub_mm.analysis.depth.other_models import OTHER_SOURCES, stand_in_for_operations
from cosub_mm.analysis.depth.timm_models import timm_block_candidates, timm_candidates
from cosub_mm.launch.errors import run_tool
from cosub_mm.launch.values import file


def _openmmlab(name: str) -> Iterator:
    """Its candidates; imported late, behind what stands in for mmcv's operations."""
    from cosub_mm.analysis.depth import mm_models

    return getattr(mm_models, f'{name}_candidates')()


SOURCES = {
    'timm': timm_candidates,
    'timm-blocks': timm_block_candidates,
    'mmpretrain': partial(_openmmlab, 'mmpretrain'),
    'mmseg': partial(_openmmlab, 'mmseg'),
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
        '--output', type=file, default=DOCUMENT, help=f'markdown file; by default {DOCUMENT.name}'
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
    stand_in_for_operations()
    only = set(args.families)
    verdicts = {
        name: list(judge_all(SOURCES[name](), only, name in OTHER_SOURCES)) for name in libraries
    }
    everything = [verdict for part in verdicts.values() for verdict in part]
    unknown = only - {verdict.family for verdict in everything}
    if unknown:
        print(f'error: no family is called {", ".join(sorted(unknown))}.', file=sys.stderr)
        return 2
    is_part = bool(only or args.library)
    kept: dict[str, str] = {}
    if args.update:
        text = args.output.read_text()
        verdicts = _merge(read_tables(text), verdicts)
        kept = {
            line.split()[1]: line.split()[-1]
            for line in text.splitlines()
            if line.startswith('## ') and line.split()[1] not in libraries
        }
    sections = [
        coverage_table(f'{name} {_version(name, kept)}', part)
        for name, part in verdicts.items()
        if part
    ]
    if is_part and not args.update:
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


def _version(name: str, kept: dict[str, str]) -> str:
    """Of what was tried now; of sections that are kept, what the document says."""
    if name in kept:
        return kept[name]
    module = OTHER_SOURCES[name][0] if name in OTHER_SOURCES else name.removesuffix('-blocks')
    return importlib.import_module(module).__version__


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
