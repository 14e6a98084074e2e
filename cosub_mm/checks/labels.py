"""Whether the masks of a data set can teach anything, and whether all parts ignore one label."""

import time
from collections.abc import Iterator

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset

from cosub_mm.datasets.decoding import read_array
from cosub_mm.datasets.masks import labels_in

from .walk import PARTS, datasets_of

__all__ = ['check_ignore_index', 'check_masks']

SEARCH_TIME = 30.0  # seconds that the start of a training may look for a second class


def check_ignore_index(cfg: Config) -> None:
    """Compare the label to ignore wherever a segmentation config says it.

    Data set, metric, heads and padding each have an argument of their own, 255 by default; where
    they differ, ignored pixels are trained on or counted without a word.

    Raises:
        ValueError: naming each place with its value.
    """
    found = list(_ignored(cfg))
    if len({value for _, value in found}) > 1:
        listed = ', '.join(dict.fromkeys(f'{path}={value}' for path, value in found))
        raise ValueError(
            f'the label of pixels to ignore is not the same everywhere: {listed}. Set all of them '
            f'to the label that the masks use.'
        )
    value = found[0][1] if found else 255
    for _, dataset in datasets_of(cfg):
        if value != 255 and dataset.get('reduce_zero_label'):
            raise ValueError(
                f'reduce_zero_label turns 0 into 255, and ignore_index={value} everywhere else: '
                f'use 255, or masks whose classes begin at 0.'
            )


def check_masks(dataset: BaseDataset, where: str) -> None:
    """Stop where the masks hold one class at most: the loss would go to 0 and the mIoU to 100.

    Masks are read, spread over the data set, until two classes are found, usually in the first.

    Args:
        dataset: a ``BaseSegDataset`` with its list of samples loaded.
        where: how the message calls it.

    Raises:
        ValueError: fewer than two classes in all masks, or in as many as can be read in 30 s.
    """
    names = dataset.metainfo.get('classes') or ()
    if len(names) < 2:
        return
    found: dict[int | str, int] = {}
    values: set[int] = set()
    end, read = time.monotonic() + SEARCH_TIME, 0
    for i in np.random.default_rng(0).permutation(len(dataset)):
        info = dataset.get_data_info(int(i))
        path = info.get('seg_map_path')
        if not path or info.get('label_map'):
            return
        try:
            labels = read_array(path)
        except (OSError, SyntaxError, ValueError):
            continue  # the guard names it when it is its turn
        read += 1
        values.update(np.unique(labels).tolist())
        for name, pixels in labels_in(
            labels, bool(info.get('reduce_zero_label')), dataset.ignore_index
        ).items():
            found[name] = found.get(name, 0) + pixels
        if sum(name != 'ignored' for name in found) > 1 or time.monotonic() > end:
            break
    classes = [name for name in found if name != 'ignored']
    if read == 0 or len(classes) > 1:
        return
    only = f'only class {classes[0]} ({_name(names, classes[0])})' if classes else 'no class'
    share = found.get('ignored', 0) / sum(found.values())
    raise ValueError(
        f'{where}: {read} of {len(dataset)} masks were read and hold {only}; {share:.0%} of their '
        f'pixels are ignored. The files hold the values {sorted(values)[:8]}; expected are '
        f'{_expected(dataset, len(names))}. Masks of 0 and 255 must become masks of 0 and 1, and '
        f'reduce_zero_label=True is for masks whose 0 stands for no class.'
    )


def _expected(dataset: BaseDataset, classes: int) -> str:
    ignored = f'{dataset.ignore_index} for pixels to ignore'
    if getattr(dataset, 'reduce_zero_label', False):
        return f'1 to {classes} for the classes, 0 and {ignored} (reduce_zero_label)'
    return f'0 to {classes - 1} for the classes, {ignored}'


def _name(names: tuple, label: int) -> str:
    return str(names[label]) if 0 <= label < len(names) else 'no name'


def _ignored(cfg: Config) -> Iterator[tuple[str, int]]:
    model = cfg.get('model') or {}
    for part in PARTS:
        for _, dataset in datasets_of(cfg, (part,)):
            yield f'{part}_dataloader.dataset.ignore_index', dataset.get('ignore_index', 255)
        evaluators = cfg.get(f'{part}_evaluator') or []
        for one in [evaluators] if isinstance(evaluators, dict) else evaluators:
            if str(one.get('type')).endswith('IoUMetric'):
                yield f'{part}_evaluator.ignore_index', one.get('ignore_index', 255)
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        for i, head in enumerate([heads] if isinstance(heads, dict) else heads):
            yield f'model.{name}[{i}].ignore_index', head.get('ignore_index', 255)
    preprocessor = model.get('data_preprocessor') or cfg.get('data_preprocessor')
    if preprocessor:
        path = 'data_preprocessor.seg_pad_val'
        yield path, preprocessor.get('seg_pad_val', 255)
    for _, dataset in datasets_of(cfg, ('train',)):
        for step in dataset.get('pipeline') or []:
            if str(step.get('type')).endswith('RandomCrop'):
                yield 'RandomCrop.ignore_index', step.get('ignore_index', 255)
