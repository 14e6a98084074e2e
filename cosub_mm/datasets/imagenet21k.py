"""ImageNet-21k from class folders, tar shards or a list."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import force_full_init
from mmengine.logging import MMLogger
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from cosub_mm.safe_files import name_problem, path_below, read_text

from .image_index import INDEX, RELEASES, ClassSource, Sample, find_classes, read_index, scan
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
        classes, names = self._read_list() if self.ann_file else self._read_classes()
        self._check_number(len(classes))
        self._metainfo['classes'] = tuple(classes)
        # One block of bytes and one of places: a Python string an image would take gigabytes.
        encoded = [name.encode() for name in names]
        self._ends = np.cumsum([len(name) for name in encoded], dtype=np.int64)
        self._names = np.frombuffer(b''.join(encoded), dtype=np.uint8)
        self._fully_initialized = True

    @force_full_init
    def __len__(self) -> int:
        return len(self._labels)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Address, label and number of an image."""
        idx = range(len(self._labels))[idx]
        start = self._ends[idx - 1] if idx else 0
        name = self._names[start : self._ends[idx]].tobytes().decode()
        label = int(self._labels[idx])
        if self._offsets is None:
            path = os.path.join(self._folders[label] if self._folders else self.data_root, name)
        else:
            path = shard_path(self._folders[label], self._offsets[idx], self._sizes[idx])
        return dict(img_path=path, gt_label=label, sample_idx=idx)

    @force_full_init
    def get_cat_ids(self, idx: int) -> list[int]:
        """Label of an image, as class-balanced samplers ask for it."""
        return [int(self._labels[idx])]

    def _read_classes(self) -> tuple[list[str], list[str]]:
        sources = find_classes(self.data_root)
        index = sources[0].path.parent / INDEX
        found = [self._images(source, index) for source in sources]
        empty = [source.name for source, samples in zip(sources, found) if not samples]
        if empty:
            raise ValueError(
                f"{len(empty)} of {len(sources)} classes in '{self.data_root}' have no image, "
                f'e.g. {", ".join(empty[:5])}. Add images, or remove the classes.'
            )
        self._folders = [str(source.path) for source in sources]
        counts = [len(samples) for samples in found]
        self._labels = np.repeat(np.arange(len(sources), dtype=np.int32), counts)
        self._offsets = self._sizes = None
        if sources[0].is_shard:
            self._offsets = np.array([s.offset for images in found for s in images])
            self._sizes = np.array([s.size for images in found for s in images])
        return [source.name for source in sources], [s.name for images in found for s in images]

    def _images(self, source: ClassSource, index: Path) -> list[Sample]:
        prepared = read_index(source, index)
        if prepared is None and source.is_shard and not getattr(self, '_told', False):
            self._told = True
            MMLogger.get_current_instance().warning(
                f"'{source.path.parent}' has no index for all shards, so that they are looked "
                f'through now and at each start. tools/dataset_converters/prepare_imagenet21k.py '
                f'writes one.'
            )
        return scan(source) if prepared is None else prepared

    def _read_list(self) -> tuple[list[str], list[str]]:
        if not Path(self.ann_file).exists():
            raise FileNotFoundError(f"There is no list '{self.ann_file}'.")
        lines = read_text(self.ann_file).split('\n')
        lines = [line.rstrip('\r') for line in lines if line.strip()]
        if not lines:
            raise ValueError(f"The list '{self.ann_file}' is empty.")
        self._folders, self._offsets = [], None
        # Either all lines have a label or the class folders give it.
        if lines[0].rpartition(' ')[2].isdecimal():
            pairs = [line.rpartition(' ')[::2] for line in lines]
            wrong = next((i for i, (n, y) in enumerate(pairs) if not n or not y.isdecimal()), None)
            labels = [] if wrong is not None else [int(label) for _, label in pairs]
            names = [name for name, _ in pairs]
            classes = [str(i) for i in range(max(labels, default=-1) + 1)]
        else:
            names = lines
            wrong = next((i for i, line in enumerate(lines) if '/' not in line), None)
            folders = [line.split('/')[0] for line in lines]
            classes = sorted(set(folders))
            place = {name: i for i, name in enumerate(classes)}
            labels = [place[folder] for folder in folders]
        if wrong is not None:
            raise ValueError(
                f'Line {wrong + 1} of {self.ann_file} is {lines[wrong]!r}; expected are '
                f'CLASS/IMAGE or PATH LABEL, the same in all lines.'
            )
        for name in names:
            if name_problem(name):
                path_below(self.data_root, name, self.ann_file)  # says which and why
        self._labels = np.array(labels, dtype=np.int32)
        return classes, names

    def _check_number(self, found: int) -> None:
        if self.num_classes is not None and found != self.num_classes:
            known = ' and '.join(f'{release} has {n:,}' for n, release in RELEASES.items())
            raise ValueError(
                f"'{self.data_root}' has {found:,} classes, the config expects "
                f'{self.num_classes:,}. ImageNet-21k of {known}. Choose the data that the model is '
                f'for, or set num_classes of the data set and of model.head to {found}.'
            )
