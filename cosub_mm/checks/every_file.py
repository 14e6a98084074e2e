"""Read every file of a data set and say which are broken."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from cosub_mm.datasets.decoding import (
    IGNORE_EXIF,
    decode,
    is_turned,
    read_array,
    read_file,
    stored_and_shown_size,
)
from cosub_mm.datasets.masks import BadLabelError, check_mask, labels_in, size_problem
from cosub_mm.safe_files import shown

from .data import loading_steps
from .folders import unused_files
from .walk import datasets_of

__all__ = ['Verification', 'named_datasets', 'verify']


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
        lines += [f'  {shown(path)}: {problem}' for path, problem in self.broken]
        return '\n'.join([head, *lines])


def named_datasets(cfg: Config) -> Iterator[tuple[str, dict]]:
    """Yield the name and the config of each data set of a config, wrappers opened, without doubles.

    Args:
        cfg: a config of training or testing.
    """
    found: dict[str, tuple[list[str], dict]] = {}
    for part, dataset in datasets_of(cfg):
        key = repr({k: v for k, v in dataset.items() if k not in ('pipeline', 'test_mode')})
        found.setdefault(key, ([], dataset))[0].append(part)
    for parts, dataset in found.values():
        yield f'{"/".join(dict.fromkeys(parts))}: {dataset["type"]}', dataset


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
    upright = not any(
        step.get('color_type') == IGNORE_EXIF for step in loading_steps(dataset_cfg.get('pipeline'))
    )
    pixels, turned = Counter(), 0

    def check(index: int) -> tuple[list[tuple[str, str]], dict]:
        found: dict = {}
        info = dataset.get_data_info(index)
        return list(_check_sample(info, dataset, num_classes, upright, found)), found

    with ThreadPoolExecutor(workers) as pool:
        for problems, found in pool.map(check, range(report.total)):
            report.broken += problems
            pixels.update(found.get('pixels', {}))
            turned += found.get('turned', False)
            count()
    _note_pixels(pixels, dataset, report)
    if turned and upright:
        report.notes.append(
            f'{turned} pictures carry an EXIF tag that turns or mirrors them and keeps their '
            f'shape, so that nothing tells whether their masks were drawn upright, as the '
            f"pictures are shown to the network; if not, load them by color_type='{IGNORE_EXIF}'"
        )
    report.notes += unused_files(dataset)
    return report


def _note_pixels(pixels: Counter, dataset: BaseDataset, report: Verification) -> None:
    """Say how the pixels of all masks are shared by the classes, and which classes have none."""
    names = dataset.metainfo.get('classes') or ()
    if not pixels or not names:
        return
    total = sum(pixels.values())
    shares = [f'{name} {pixels[i] / total:.1%}' for i, name in enumerate(names) if pixels[i]]
    shares.append(f'ignored {pixels["ignored"] / total:.1%}')
    report.notes.append(f'pixels: {", ".join(shares)}')
    absent = [str(name) for i, name in enumerate(names) if not pixels[i]]
    if absent:
        more = f' and {len(absent) - 8} more' if len(absent) > 8 else ''
        report.notes.append(
            f'{len(absent)} of {len(names)} classes have no pixel: {", ".join(absent[:8])}{more}'
        )
    if len(absent) > len(names) - 2 and len(names) > 1:
        report.broken.append(
            (
                str(dataset.data_root),
                f'all masks together hold fewer than two classes ({", ".join(shares)}): there is '
                f'nothing to learn. Masks of 0 and 255 must become masks of 0 and 1, and '
                f'reduce_zero_label is for masks whose 0 stands for no class',
            )
        )


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
    info: dict, dataset: BaseDataset, num_classes: int | None, upright: bool, found: dict
) -> Iterator[tuple[str, str]]:
    """Problems of one sample; its pixels by class and what is to note go to ``found``."""
    image_path, mask_path = info.get('img_path'), info.get('seg_map_path')
    label = info.get('gt_label')
    where = str(image_path or f'sample {info.get("sample_idx")}')
    if num_classes and isinstance(label, int | np.integer) and not 0 <= label < num_classes:
        yield where, f'class {label} is outside 0 to {num_classes - 1}'
    if image_path is None:
        return
    problem = _unreadable(lambda: decode(read_file(image_path)))
    if problem:
        yield where, problem
    if mask_path is None:
        return
    mask_problem = _unreadable(lambda: read_array(mask_path)) or _wrong_mask(
        mask_path, dataset, None if info.get('label_map') else found
    )
    if mask_problem is None and problem is None:
        mask_problem = size_problem(str(mask_path), read_array(mask_path), image_path, upright)
        with Image.open(BytesIO(read_file(image_path))) as picture:
            stored, shown = stored_and_shown_size(picture)
            alike = stored == shown or stored[0] == stored[1]
            found['turned'] = alike and is_turned(picture)
    if mask_problem:
        yield str(mask_path), mask_problem


def _wrong_mask(path: str, dataset: BaseDataset, found: dict | None) -> str | None:
    """What is wrong with the labels of a mask; its pixels by class go to ``found``."""
    labels, reduced = read_array(path), bool(getattr(dataset, 'reduce_zero_label', False))
    # A label map names the classes of the files, not those they are mapped to.
    names = type(dataset).METAINFO.get('classes') or dataset.metainfo.get('classes') or ()
    try:
        check_mask(str(path), labels, len(names), reduced, dataset.ignore_index)
    except BadLabelError as error:
        return str(error).removeprefix(f'{path} ')
    if found is not None:
        found['pixels'] = labels_in(labels, reduced, dataset.ignore_index)
    return None


def _unreadable(read: Callable[[], object]) -> str | None:
    """Why a file cannot be decoded, or None."""
    try:
        read()
    except FileNotFoundError:
        return 'the file is missing'
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return f'the file cannot be read ({error})'
    return None


def prepare(cfg: Config) -> int | None:
    """Enter the scope of a config and return the number of classes of its head."""
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    head = cfg.model.get('decode_head') or cfg.model.get('head') or {}
    return (head[-1] if isinstance(head, list) else head).get('num_classes')
