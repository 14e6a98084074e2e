"""Read every file of a data set and say which are broken."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.fileio import get
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

__all__ = ['Verification', 'datasets_of', 'verify']

SPLITS = ('train', 'val', 'test')


@dataclass
class Verification:
    """What was found in one data set.

    Attributes:
        name: the splits that use it and its class, e.g. ``'train: ImageNet'``.
        total: number of samples.
        broken: (file, what is wrong with it), in the order of the data set.
        notes: what is unusual about the whole, e.g. classes without images.
    """

    name: str
    total: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        head = f'{self.name}: {self.total:,} samples, {len(self.broken):,} broken'
        lines = [f'  note: {note}' for note in self.notes]
        lines += [f'  {path}: {problem}' for path, problem in self.broken]
        return '\n'.join([head, *lines])


def datasets_of(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Yield the name and the config of each data set of a config, wrappers opened, without doubles.

    Args:
        cfg: a config of training or testing.
    """
    found: dict[str, tuple[list[str], dict]] = {}
    for split in SPLITS:
        loader = cfg.get(f'{split}_dataloader')
        for dataset in _unwrap(loader['dataset']) if loader else ():
            key = repr({k: v for k, v in dataset.items() if k not in ('pipeline', 'test_mode')})
            found.setdefault(key, ([], dataset))[0].append(split)
    for splits, dataset in found.values():
        yield f'{"/".join(dict.fromkeys(splits))}: {dataset["type"]}', dataset


def verify(
    name: str,
    dataset_cfg: dict,
    num_classes: int | None,
    workers: int = 4,
    progress: Callable[[int], Callable[[], None]] | None = None,
) -> Verification:
    """Read all files of one data set.

    An image must decode to its end. A mask must decode to one channel of its image's size with
    labels that the data set has. A class index must be one of the model's.

    Args:
        name: how the report calls the data set.
        dataset_cfg: config of a data set of mmpretrain or mmseg, registered in the current scope.
        num_classes: classes of the model's head; None compares with nothing.
        workers: threads that decode.
        progress: called with the number of samples, returns what is called after each of them.

    Returns:
        The findings. Data sets that keep their images in memory (CIFAR, MNIST) have no files: only
        their labels are checked.
    """
    report = Verification(name)
    try:
        # The pipeline does not run, and may name transforms of an uninstalled package.
        dataset = DATASETS.build({**dataset_cfg, 'pipeline': [], 'lazy_init': False})
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        root = dataset_cfg.get('data_root', '')
        report.broken.append((str(root), f'the data set cannot be listed: {error}'))
        return report
    report.total = len(dataset)
    _check_classes(dataset, num_classes, report)
    count = progress(report.total) if progress else lambda: None

    def check(index: int) -> list[tuple[str, str]]:
        return list(_check_sample(dataset.get_data_info(index), dataset, num_classes))

    with ThreadPoolExecutor(workers) as pool:
        for problems in pool.map(check, range(report.total)):
            report.broken += problems
            count()
    return report


def _unwrap(dataset: dict) -> Iterator[dict]:
    """Open RepeatDataset, ConcatDataset, ClassBalancedDataset and the like."""
    inner = dataset.get('dataset', dataset.get('datasets'))
    if inner is None:
        yield dataset
    else:
        for item in inner if isinstance(inner, list | tuple) else [inner]:
            yield from _unwrap(item)


def _check_classes(dataset: BaseDataset, num_classes: int | None, report: Verification) -> None:
    classes = dataset.metainfo.get('classes')
    if report.total == 0:
        report.broken.append((str(dataset.data_root), 'the data set is empty'))
    if num_classes is not None and classes is not None and len(classes) != num_classes:
        report.broken.append(
            (
                str(dataset.data_root),
                f'the data set has {len(classes)} classes, the model num_classes={num_classes}',
            )
        )
    labels = Counter(
        label
        for index in range(report.total)
        if isinstance(label := dataset.get_data_info(index).get('gt_label'), int | np.integer)
    )
    if labels and classes is not None:
        empty = [str(name) for i, name in enumerate(classes) if not labels[i]]
        if empty:
            more = ', ...' if len(empty) > 8 else ''
            report.notes.append(
                f'{len(empty)} of {len(classes)} classes have no image: '
                f'{", ".join(empty[:8])}{more}'
            )


def _check_sample(
    info: dict, dataset: BaseDataset, num_classes: int | None
) -> Iterator[tuple[str, str]]:
    image_path = info.get('img_path')
    label = info.get('gt_label')
    where = str(image_path or f'sample {info.get("sample_idx")}')
    if num_classes and isinstance(label, int | np.integer) and not 0 <= label < num_classes:
        yield where, f'class {label} is outside 0 to {num_classes - 1}'
    if image_path is None:
        return
    image = _read(image_path)
    if isinstance(image, str):
        yield where, image
    if info.get('seg_map_path') is not None:
        mask = _read(info['seg_map_path'])
        problem = mask if isinstance(mask, str) else _mask_problem(mask, image, dataset)
        if problem:
            yield str(info['seg_map_path']), problem


def _read(path: str) -> Image.Image | str:
    """The decoded picture, or what is wrong with it."""
    try:
        # mmengine's backends: files, tar shards, object stores.
        with Image.open(BytesIO(get(path))) as picture:
            picture.load()
            return picture.copy()
    except FileNotFoundError:
        return 'the file is missing'
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f'the file cannot be read ({error})'


def _mask_problem(mask: Image.Image, image: Image.Image | str, dataset: BaseDataset) -> str | None:
    labels = np.asarray(mask)
    if labels.ndim != 2:
        return f'the mask has {labels.shape[2]} channels instead of one'
    if not isinstance(image, str) and image.size != mask.size:
        sizes = [f'{picture.width}x{picture.height}' for picture in (image, mask)]
        return f'the image has {sizes[0]} pixels, the mask {sizes[1]}'
    # Labels of the files: 0 stands for no label where it is reduced; a label map names old classes.
    names = type(dataset).METAINFO.get('classes') or dataset.metainfo.get('classes')
    if not names:
        return None
    top = len(names) if getattr(dataset, 'reduce_zero_label', False) else len(names) - 1
    wrong = [int(i) for i in np.unique(labels) if i > top and i != dataset.ignore_index]
    return f'the mask holds labels {wrong[:8]}, beyond {top}' if wrong else None


def prepare(cfg: Config) -> int | None:
    """Enter the scope of a config and return the number of classes of its head."""
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    head = cfg.model.get('decode_head') or cfg.model.get('head') or {}
    return (head[-1] if isinstance(head, list) else head).get('num_classes')
