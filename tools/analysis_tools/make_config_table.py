"""Make or check ``configs/README.md``, the metafiles and ``model-index.yml`` from the configs.

    python tools/analysis_tools/make_config_table.py            # write them
    python tools/analysis_tools/make_config_table.py --check    # exit 1 if they are out of date

The paper's numbers come from ``configs/paper_numbers.csv``; parameters, FLOPs and the number of
GPUs from the configs themselves.
"""

import argparse
import csv
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml
from mmengine.config import Config
from mmengine.logging import MMLogger

from cosub_mm.evaluation.complexity import complexity, default_shape

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = 'configs/paper_numbers.csv'
FOLDERS = {
    'cosub': 'Cosub',
    'baselines': 'Supervised baselines',
    'ablations': 'Ablations',
}
INTRODUCTION = f"""\
# Configs of the paper's classification results

One file a result. `val` and `V2` are the paper's top-1 accuracies on ImageNet-1k's validation \
images and on ImageNet-V2, not ours; an empty cell is a run that the paper does not report by \
itself (pre-training, or a length it leaves out). Parameters and FLOPs (multiply-adds of one image \
at the training size) are counted on the config. Values that the sources leave open are marked \
`ours` in the configs.

`bash tools/dist_test.sh CONFIG CHECKPOINT GPUS` tests on both sets of images; ImageNet-V2 is left \
out by `--cfg-options test_dataloader.dataset.v2_root=None`.

This file is written by `python tools/analysis_tools/make_config_table.py` from the configs and \
`{NUMBERS}`.
"""


class Row(NamedTuple):
    """A config, what the paper says of it, and what it costs."""

    path: str
    tables: str
    val: str
    v2: str
    params: int
    flops: int
    gpus: int

    @property
    def name(self) -> str:
        """Name for ``mmpretrain.get_model``."""
        folder, stem = self.path.removesuffix('.py').split('/')
        return stem if folder == 'baselines' else f'cosub_{stem}'


def read_numbers(root: Path) -> list[dict[str, str]]:
    """Rows of the data file, in its order.

    Raises:
        ValueError: a config without a row, a row without a config, or two rows for one.
    """
    with open(root / NUMBERS, newline='') as file:
        rows = list(csv.DictReader(file))
    listed = [row['config'] for row in rows]
    found = {
        f'{folder}/{path.name}'
        for folder in FOLDERS
        for path in root.glob(f'configs/{folder}/*.py')
    }
    twice = {config for config in listed if listed.count(config) > 1}
    wrong = {
        'have no row': found - set(listed),
        'have a row but no file': set(listed) - found,
        'have several rows': twice,
    }
    for what, configs in wrong.items():
        if configs:
            raise ValueError(f'{NUMBERS}: these configs {what}: {", ".join(sorted(configs))}')
    return rows


def make_rows(root: Path) -> list[Row]:
    """Count every config; equal models are counted once."""
    costs: dict[str, tuple[int, int]] = {}
    rows = []
    for entry in read_numbers(root):
        cfg = Config.fromfile(root / 'configs' / entry['config'])
        backbone = {k: v for k, v in cfg.model.backbone.items() if k != 'init_cfg'}
        key = repr((sorted(backbone.items()), cfg.model.head.num_classes))
        if key not in costs:
            cfg.model.backbone.pop('init_cfg', None)
            cost = complexity(cfg, default_shape(cfg))
            costs[key] = cost.params, cost.flops
        gpus = cfg.auto_scale_lr.base_batch_size // cfg.train_dataloader.batch_size
        rows.append(
            Row(entry['config'], entry['tables'], entry['val'], entry['v2'], *costs[key], gpus)
        )
    return rows


def readme(rows: Sequence[Row]) -> str:
    """The table of all configs."""
    text = INTRODUCTION
    for folder, title in FOLDERS.items():
        text += f'\n## {title}\n\n'
        text += '| config | paper table | val | V2 | params (M) | GFLOPs | command |\n'
        text += '|---|---|---|---|---|---|---|\n'
        for row in rows:
            if row.path.startswith(f'{folder}/'):
                text += (
                    f'| [{Path(row.path).stem}]({row.path}) | {row.tables} | {row.val} | {row.v2} '
                    f'| {row.params / 1e6:.1f} | {row.flops / 1e9:.1f} '
                    f'| `bash tools/dist_train.sh configs/{row.path} {row.gpus}` |\n'
                )
    return text


def metafile(rows: Sequence[Row], folder: str) -> str:
    """Models of a folder as mim and ``mmpretrain.get_model`` read them."""
    collection = f'CoSub {folder}'
    content = dict(
        Collections=[
            dict(
                Name=collection,
                Metadata={'Training Data': 'ImageNet-1k, ImageNet-21k'},
                Paper=dict(
                    Title='Co-training 2^L Submodels for Visual Recognition',
                    URL='https://arxiv.org/abs/2212.04884',
                ),
                README='configs/README.md',
            )
        ],
        Models=[
            {
                'Name': row.name,
                'In Collection': collection,
                'Metadata': {'FLOPs': row.flops, 'Parameters': row.params},
                'Config': f'configs/{row.path}',
            }
            for row in rows
            if row.path.startswith(f'{folder}/')
        ],
    )
    return yaml.safe_dump(content, sort_keys=False)


def make_files(root: Path) -> dict[str, str]:
    """Path and text of all that this command writes."""
    rows = make_rows(root)
    files = {'configs/README.md': readme(rows)}
    for folder in FOLDERS:
        files[f'configs/{folder}/metafile.yml'] = metafile(rows, folder)
    imports = [f'configs/{folder}/metafile.yml' for folder in FOLDERS]
    files['model-index.yml'] = yaml.safe_dump(dict(Import=imports))
    return files


def main(argv: Sequence[str] | None = None) -> int:
    """Write or check the files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing, fail on a difference')
    parser.add_argument('--root', type=Path, default=ROOT, help='root of the repository')
    args = parser.parse_args(argv)
    MMLogger.get_current_instance().setLevel(logging.ERROR)
    stale = []
    for path, text in make_files(args.root).items():
        file = args.root / path
        if file.is_file() and file.read_text(encoding='utf-8') == text:
            continue
        stale.append(path)
        if not args.check:
            file.write_text(text, encoding='utf-8')
    if not stale:
        print('All tables agree with the configs.')
    elif args.check:
        print(
            f'Out of date: {", ".join(stale)}. Run python tools/analysis_tools/make_config_table.py'
        )
        return 1
    else:
        print(f'Written: {", ".join(stale)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
