"""ImageNet-21k from class folders, tar shards or a list."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import numpy as np
from mmengine.dataset import force_full_init
from mmengine.logging import MMLogger
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from cosub_mm.safe_files import name_problem, path_below, read_lines

from .image_index import INDEX, RELEASES, ClassSource, Sample, find_classes, read_index, scan
from .image_table import ImageTable, packed_path
from .tar_backend import shard_path

__all__ = ['CosubImageNet21k']


@DATASETS.register_module()
class CosubImageNet21k(BaseDataset):
    """Images of many classes, in little memory.

    It reads class folders (``CLASS/IMAGE``) or one tar shard a class (``CLASS.tar``), the releases
    of fall 2011 and winter 2021 alike, without unpacking. An index that
    ``tools/dataset_converters/prepare_imagenet21k.py`` left beside them is used; otherwise all
    folders or shards are looked through, which takes long for shards. Labels are the places of the
    classes in the sorted order of their names.

    Args:
        data_root: folder of the classes.
        ann_file: a list instead, one ``CLASS/IMAGE`` or ``PATH LABEL`` a line, relative to
            ``data_root``.
        num_classes: the number of classes that the data must have; None takes what there is.
        **kwargs: ``pipeline``, ``test_mode``, ``lazy_init``, ``metainfo`` of BaseDataset.

    Raises:
        FileNotFoundError: no such root or list.
        ValueError: no class or another number of classes, a class without an image, a shard that
            is cut short, or a line that cannot be read.
    """

    def __init__(
        self, data_root: str = '', ann_file: str = '', num_classes: int | None = None, **kwargs
    ) -> None:
        self.num_classes = num_classes
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    @classmethod
    def classes_of(cls, dataset: dict) -> Sequence[str]:
        """Class names of a config of this data set, without looking into the classes."""
        if dataset.get('ann_file'):
            return cls(
                **{k: v for k, v in dataset.items() if k not in ('type', 'pipeline')}
            ).CLASSES
        return [source.name for source in find_classes(dataset.get('data_root', ''))]

    def full_init(self) -> None:
        """Find all images."""
        if self._fully_initialized:
            return
        classes = self._read_list() if self.ann_file else self._read_classes()
        self._check_number(len(classes))
        self._metainfo['classes'] = tuple(classes)
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        return len(self._table)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Address, label and number of an image."""
        idx = range(len(self._table))[idx]
        label, place = self._label(idx), self._table.place(idx)
        if place is None:
            folder = self._folders[label] if self._folders else self.data_root
            path = os.path.join(folder, self._table.name(idx))
        else:
            path = shard_path(self._folders[label], *place)
        return dict(img_path=path, gt_label=label, sample_idx=idx)

    def _label(self, idx: int) -> int:
        return self._table.label(idx) if self._labels is None else int(self._labels[idx])

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Label of an image, as class-balanced samplers ask for it."""
        return [self._label(idx)]

    def _read_classes(self) -> list[str]:
        sources = find_classes(self.data_root)
        index = sources[0].path.parent / INDEX
        path = packed_path(index, sources) if index.is_dir() else None
        self._table = path and ImageTable.load(path, sources)
        if self._table is None:
            self._indexed = 0
            found = (self._images(source, index) for source in sources)
            self._table = ImageTable.of(found, sources[0].is_shard)
            self._check_empty([source.name for source in sources])
            if self._indexed == len(sources):
                with suppress(OSError):  # a disk that is full or may only be read
                    self._table = self._table.save(path)
        self._labels = None
        self._folders = [str(source.path) for source in sources]
        return [source.name for source in sources]

    def _check_empty(self, names: list[str]) -> None:
        counts = np.diff(self._table.columns['class_ends'], prepend=0)
        empty = [name for name, count in zip(names, counts) if not count]
        if empty:
            raise ValueError(
                f"{len(empty)} of {len(names)} classes in '{self.data_root}' have no image, "
                f'e.g. {", ".join(empty[:5])}. Add images, or remove the classes.'
            )

    def _images(self, source: ClassSource, index: Path) -> list[Sample]:
        prepared = read_index(source, index)
        if prepared is None and source.is_shard and not getattr(self, '_told', False):
            self._told = True
            MMLogger.get_current_instance().warning(
                f"'{source.path.parent}' has no index for all shards, so that they are looked "
                f'through now and at each start. tools/dataset_converters/prepare_imagenet21k.py '
                f'writes one.'
            )
        self._indexed += prepared is not None
        return scan(source) if prepared is None else prepared

    def _read_list(self) -> list[str]:
        if not Path(self.ann_file).exists():
            raise FileNotFoundError(f"There is no list '{self.ann_file}'.")
        labels = array('i')
        lines = (line for line in read_lines(self.ann_file) if line.strip())
        first = next(lines, None)
        if first is None:
            raise ValueError(f"The list '{self.ann_file}' is empty.")
        # Either all lines have a label or the class folders give it.
        labelled = first.rpartition(' ')[2].isdecimal()
        found: dict[str, int] = {}
        samples = self._listed(chain([first], lines), labels, None if labelled else found)
        self._table = ImageTable.of([samples], in_shards=False)
        self._folders = []
        self._labels = np.frombuffer(labels, dtype=np.int32)
        if labelled:
            return [str(i) for i in range(int(self._labels.max()) + 1)]
        classes = sorted(found)
        place = {name: i for i, name in enumerate(classes)}
        self._labels = np.array([place[name] for name in found], np.int32)[self._labels]
        return classes

    def _listed(
        self, lines: Iterable[str], labels: array, classes: dict[str, int] | None
    ) -> Iterator[Sample]:
        """Images of a list; their labels go to ``labels``, new classes to ``classes``."""
        for number, line in enumerate(lines, start=1):
            if classes is None:
                name, _, label = line.rpartition(' ')
                right = bool(name) and label.isdecimal() and len(label) < 8
            else:
                name, (folder, slash, _) = line, line.partition('/')
                right, label = bool(slash), classes.setdefault(folder, len(classes))
            if not right:
                raise ValueError(
                    f'Line {number} of {self.ann_file} is {line[:100]!r}; expected are CLASS/IMAGE '
                    f'or PATH LABEL, the same in all lines.'
                )
            if name_problem(name):
                path_below(self.data_root, name, self.ann_file)  # says which and why
            labels.append(int(label))
            yield Sample(name)

    def _check_number(self, found: int) -> None:
        if self.num_classes is not None and found != self.num_classes:
            known = ' and '.join(f'{release} has {n:,}' for n, release in RELEASES.items())
            raise ValueError(
                f"'{self.data_root}' has {found:,} classes, the config expects "
                f'{self.num_classes:,}. ImageNet-21k of {known}. Choose the data that the model is '
                f'for, or set num_classes of the data set and of model.head to {found}.'
            )
