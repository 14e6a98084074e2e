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

from cosub_mm.analysis.complexity import complexity, default_shape
from cosub_mm.analysis.metafiles import DOWNSTREAM, V2, VAL, downstream_metafile, metafile
from cosub_mm.launch.errors import run_tool, user_errors

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = 'configs/paper_numbers.csv'
RECIPES, RUNS = 'configs/paper_recipes.csv', 'configs/paper_runs.csv'
OLD_NAMES = 'configs/old_names.csv'
GPUS_OF_A_MACHINE = 8
FOLDERS = {
    'cosub': 'Cosub',
    'baselines': 'Supervised baselines, and the other strategies of Table 4',
    'ablations': 'Ablations',
}
# The strategies of Table 4 beside cosub and the supervised one, as names of configs end in them.
METHODS = ('kd-cosub', 'kd', 'mean-teacher', 'co-training', 'masksub')
INTRODUCTION = f"""\
# Configs of the paper's classification results

One file a result. `val` and `V2` are the paper's top-1 accuracies on ImageNet-1k's validation \
images and on ImageNet-V2, not ours; where its tables differ, both stand there; an empty cell is a \
run that the paper does not report by itself (pre-training, or a length it leaves out). Parameters \
and FLOPs (multiply-adds of one image at the training size) are counted on the config. Values that \
the sources leave open are marked `ours` in the configs; every hyper-parameter and its source is \
in `{RECIPES}` and `{RUNS}`.

The commands have the recipe's batch, at as many images a GPU as fit into 80 GB with mixed \
precision. The paper's Table 7 has 26.9 GB for 64 images of ViT-L and 25.0 GB for 32 of ViT-H on a \
GPU, so 64 of either fit; for the others they are ours, extrapolated from there and not \
measured. With `NNODES`, run the command on each \
machine, with its `NODE_RANK` and the `MASTER_ADDR` of the first.

`bash tools/dist_test.sh CONFIG CHECKPOINT GPUS` tests on both sets of images; ImageNet-V2 is left \
out by `--cfg-options test_dataloader.dataset.v2_root=None`.

This file is written by `python tools/analysis_tools/make_config_table.py` from the configs and \
`{NUMBERS}`.
"""


class Row(NamedTuple):
    """A config, what the paper says of it, and what it costs."""

    path: str
    numbers: list[dict[str, str]]
    params: int
    flops: int
    gpus: int

    @property
    def name(self) -> str:
        """Name for ``mmpretrain.get_model``."""
        folder, stem = self.path.removesuffix('.py').split('/')
        if folder != 'baselines':
            return f'cosub_{stem}'
        method = next((m for m in METHODS if stem.endswith(f'-{m}')), None)
        return f'{method}_{stem.removesuffix(f"-{method}")}' if method else f'supervised_{stem}'

    @property
    def tables(self) -> str:
        """Tables of the paper that have this run."""
        return ', '.join(dict.fromkeys(n['table'] for n in self.numbers if n['table']))

    def value(self, metric: str) -> str:
        """The paper's number; with its table where the tables differ."""
        tables: dict[str, list[str]] = {}
        for number in self.numbers:
            if number['metric'] == metric:
                tables.setdefault(number['value'], []).append(number['table'])
        if len(tables) == 1:
            return next(iter(tables))
        return '; '.join(f'{value} (Table {", ".join(of)})' for value, of in tables.items())

    @property
    def command(self) -> str:
        """How to train it, on machines with 8 GPUs."""
        machines, rest = divmod(self.gpus, GPUS_OF_A_MACHINE)
        nodes = f'NNODES={machines} ' if machines > 1 and not rest else ''
        gpus = GPUS_OF_A_MACHINE if nodes else self.gpus
        return f'{nodes}bash tools/dist_train.sh configs/{self.path} {gpus} --amp'


def read_numbers(root: Path) -> dict[str, list[dict[str, str]]]:
    """Config -> its rows in the data file, in its order.

    A config whose first comment names no table of the paper is somebody's own and needs no row.

    Raises:
        ValueError: a config without a row, a row without a config, or two rows for one number.
    """
    with open(root / NUMBERS, newline='') as file:
        rows = list(csv.DictReader(file))
    found = {f'{path.parent.name}/{path.name}' for path in root.glob('configs/*/*.py')}
    needed = {
        config
        for config in found
        if config.split('/')[0] in FOLDERS and names_a_table(root / 'configs' / config)
    }
    listed = [row['config'] for row in rows]
    numbers = [(row['config'], row['table'], row['metric']) for row in rows]
    wrong = {
        'have no row': needed - set(listed),
        'have a row but no file': set(listed) - found,
        'have several rows': {key[0] for key in numbers if numbers.count(key) > 1},
    }
    for what, configs in wrong.items():
        if configs:
            raise ValueError(
                f'{NUMBERS}: these configs {what}: {", ".join(sorted(configs))}. A config whose '
                f"first comment begins with 'Table' is the paper's; one of your own needs no row."
            )
    return {config: [row for row in rows if row['config'] == config] for config in listed}


def names_a_table(config: Path) -> bool:
    """Whether the first comment says that the config reproduces a table of the paper."""
    return config.read_text(encoding='utf-8').startswith(('# Table ', '# Tables '))


def read_old_names(root: Path) -> dict[str, list[str]]:
    """Config -> names that the model index had for it; they go with the next version."""
    file = root / OLD_NAMES
    names: dict[str, list[str]] = {}
    if file.is_file():
        with open(file, newline='') as rows:
            for row in csv.DictReader(rows):
                names.setdefault(row['config'], []).append(row['old'])
    return names


def make_rows(root: Path) -> list[Row]:
    """Count every config; equal models are counted once."""
    costs: dict[str, tuple[int, int]] = {}
    rows = []
    for path, numbers in read_numbers(root).items():
        if path.split('/')[0] not in FOLDERS:
            continue
        cfg = Config.fromfile(root / 'configs' / path)
        # neither weights to start from nor the drop rate change what a prediction costs
        backbone = dict(cfg.model.backbone, init_cfg=None, drop_path_rate=None)
        key = repr((sorted(backbone.items()), cfg.model.head.num_classes))
        if key not in costs:
            cfg.model.backbone.pop('init_cfg', None)
            cost = complexity(cfg, default_shape(cfg))
            costs[key] = cost.params, cost.flops
        rows.append(Row(path, numbers, *costs[key], _gpus(path, cfg)))
    return rows


def _gpus(path: str, cfg: Config) -> int:
    """GPUs whose batches make up the recipe's."""
    batch, of_a_gpu = cfg.auto_scale_lr.base_batch_size, cfg.train_dataloader.batch_size
    if batch % of_a_gpu:
        raise ValueError(
            f'configs/{path}: no number of GPUs with {of_a_gpu} images each makes the '
            f"recipe's batch of {batch}; choose a divisor as train_dataloader.batch_size."
        )
    return batch // of_a_gpu


def readme(rows: Sequence[Row]) -> str:
    """The table of all configs."""
    text = INTRODUCTION
    for folder, title in FOLDERS.items():
        text += f'\n## {title}\n\n'
        text += '| config | paper table | val | V2 | params (M) | GFLOPs | GPUs | command |\n'
        text += '|---|---|---|---|---|---|---|---|\n'
        for row in rows:
            if row.path.startswith(f'{folder}/'):
                text += (
                    f'| [{Path(row.path).stem}]({row.path}) | {row.tables} | {row.value(VAL)} '
                    f'| {row.value(V2)} | {row.params / 1e6:.1f} | {row.flops / 1e9:.1f} '
                    f'| {row.gpus} | `{row.command}` |\n'
                )
    return text


def make_files(root: Path) -> dict[str, str]:
    """Path and text of all that this command writes."""
    rows = make_rows(root)
    files = {'configs/README.md': readme(rows)}
    for folder in FOLDERS:
        files[f'configs/{folder}/metafile.yml'] = metafile(rows, folder, read_old_names(root))
    numbers = read_numbers(root)
    for folder in DOWNSTREAM:
        files[f'configs/{folder}/metafile.yml'] = downstream_metafile(root, folder, numbers)
    imports = [f'configs/{folder}/metafile.yml' for folder in (*FOLDERS, *DOWNSTREAM)]
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
    with user_errors('reading the configs'):
        files = make_files(args.root)
    for path, text in files.items():
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
    sys.exit(run_tool(main))
