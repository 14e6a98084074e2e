"""Metafiles, from which mim, ``mmpretrain.get_model`` and the model index know our configs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ['DOWNSTREAM', 'V2', 'VAL', 'downstream_metafile', 'metafile']

LAST_VERSION_OF_OLD_NAMES = '0.1'
VAL, V2 = 'ImageNet top-1', 'ImageNet-V2 top-1'
# Folders whose tables are written by hand: their configs have names, and the paper's numbers.
DOWNSTREAM = {
    'ade20k': 'Semantic Segmentation',
    'transfer': 'Image Classification',
}
DATA = {
    '512': 'ADE20K',
    '640': 'ADE20K',
    'cars': 'Stanford Cars',
    'cifar10': 'CIFAR-10',
    'cifar100': 'CIFAR-100',
    'flowers102': 'Flowers-102',
    'inat18': 'iNaturalist 2018',
    'inat19': 'iNaturalist 2019',
}


def metafile(rows: Sequence[Any], folder: str, old_names: dict[str, list[str]]) -> str:
    """Models of a folder as mim and ``mmpretrain.get_model`` read them, old names last.

    Args:
        rows: of the config table: ``path``, ``name``, ``params``, ``flops`` and ``numbers``.
        folder: below ``configs``.
        old_names: names that the model index had, by path of the config.
    """
    rows = [row for row in rows if row.path.startswith(f'{folder}/')]
    content = dict(
        Collections=[_collection(folder, 'ImageNet-1k, ImageNet-21k', 'configs/README.md')],
        Models=[
            {
                'Name': row.name,
                'In Collection': _title(folder),
                'Metadata': {'FLOPs': row.flops, 'Parameters': row.params},
                **_results(row),
                'Config': f'configs/{row.path}',
            }
            for row in rows
        ]
        + [
            {
                'Name': old,
                'In Collection': _title(folder),
                'Metadata': {
                    'Note': f'old name of {row.name}, last in version {LAST_VERSION_OF_OLD_NAMES}'
                },
                'Config': f'configs/{row.path}',
            }
            for row in rows
            for old in old_names.get(row.path, ())
        ],
    )
    return yaml.safe_dump(content, sort_keys=False)


def downstream_metafile(root: Path, folder: str, numbers: dict[str, list[dict[str, str]]]) -> str:
    """Segmentation or transfer configs by name, with the paper's numbers.

    Args:
        root: of the repository.
        folder: below ``configs``.
        numbers: the paper's, by path of the config.
    """
    models = []
    for file in sorted((root / 'configs' / folder).glob('*.py')):
        data = DATA[file.stem.rpartition('_')[2]]
        results = [
            dict(
                Task=DOWNSTREAM[folder],
                Dataset=data,
                Metrics={
                    f'{number["metric"]} (paper, Table {number["table"]})': float(number['value'])
                },
            )
            for number in numbers.get(f'{folder}/{file.name}', ())
            if number['value']
        ]
        models.append(
            {
                'Name': f'{folder}_{file.stem}',
                'In Collection': _title(folder),
                'Metadata': {'Training Data': data},
                **(dict(Results=results) if results else {}),
                'Config': f'configs/{folder}/{file.name}',
            }
        )
    data = 'ADE20K' if folder == 'ade20k' else 'six data sets'
    collection = _collection(folder, data, f'configs/{folder}/README.md')
    return yaml.safe_dump(dict(Collections=[collection], Models=models), sort_keys=False)


def _title(folder: str) -> str:
    return f'CoSub {folder}'


def _collection(folder: str, data: str, readme: str) -> dict:
    paper = dict(
        Title='Co-training 2^L Submodels for Visual Recognition',
        URL='https://arxiv.org/abs/2212.04884',
    )
    metadata = {'Training Data': data}
    return dict(Name=_title(folder), Metadata=metadata, Paper=paper, README=readme)


def _results(row: Any) -> dict[str, list[dict]]:
    """The paper's numbers; the name of each metric says that they are the paper's."""
    data = {VAL: 'ImageNet-1k', V2: 'ImageNet-V2'}
    results = [
        dict(
            Task='Image Classification',
            Dataset=data[number['metric']],
            Metrics={f'Top 1 Accuracy (paper, Table {number["table"]})': float(number['value'])},
        )
        for number in row.numbers
        if number['value']
    ]
    return dict(Results=results) if results else {}
