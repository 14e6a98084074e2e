"""mmpretrain's data sets of Table 14, with the checks that they lack."""

import os
from collections.abc import Iterator

import numpy as np
from mmpretrain.datasets import CIFAR10, CIFAR100, Flowers102, StanfordCars
from mmpretrain.registry import DATASETS

from cosub_mm.safe_files import UnsafeFileError, mat_problem, path_below, pickle_problem

from .listing import check_count, check_files_present, one_of

__all__ = [
    'CheckedCIFAR10',
    'CheckedCIFAR100',
    'CheckedDataset',
    'CheckedFlowers102',
    'CheckedStanfordCars',
]


class CheckedDataset:
    """Mixin for a class of mmpretrain: refuse a data set that is not the official one.

    Args:
        data_root: folder of the data set, in its official layout.
        split: one of the official splits.
        check: compare the numbers of images and classes with the official ones, and see that every
            listed file exists. Turn it off for a subset of your own.
        **kwargs: arguments of mmpretrain's class.

    Raises:
        ValueError: an unknown split, or other numbers than the official ones.
        FileNotFoundError: no annotations, or images that they list and the folder lacks.
    """

    NUM_CLASSES: int
    NUM_IMAGES: dict[str, int]

    def __init__(self, data_root: str, split: str = 'train', check: bool = True, **kwargs) -> None:
        one_of(split, self.NUM_IMAGES, 'split')
        self.check = check
        try:
            super().__init__(data_root=data_root, split=split, **kwargs)
        except (OSError, RuntimeError) as error:
            if isinstance(error, FileNotFoundError) and 'listed images' in str(error):
                raise
            raise FileNotFoundError(
                f'{self._name(split)} is not in {data_root} in its official layout: {error} See '
                f'docs/prepare_data.md.'
            ) from error

    def load_data_list(self) -> list[dict]:
        """List the data set as mmpretrain does, with what it reads looked at before, and check it.

        Raises:
            UnsafeFileError: labels that are no regular file, unpack to more than a list of labels
                has or hold code, or name pictures elsewhere than in their folder.
        """
        problem = next(filter(None, map(self._file_problem, self._label_files())), None)
        if problem:
            raise UnsafeFileError(problem)
        try:
            data_list = super().load_data_list()
        except (OSError, RuntimeError):
            raise
        except Exception as error:  # broken labels lead to anything
            raise ValueError(
                f'{self._name(self.split)}: the labels cannot be read ({type(error).__name__}: '
                f'{error}). Unpack them again.'
            ) from error
        for path in (info['img_path'] for info in data_list if 'img_path' in info):
            path_below(self.img_prefix, os.path.relpath(path, self.img_prefix), self.ann_file)
        if self.check:
            name = self._name(self.split)
            labels = {info['gt_label'] for info in data_list}
            check_count(name, len(data_list), self.NUM_IMAGES[self.split])
            check_count(name, len(labels), self.NUM_CLASSES, 'classes')
            check_files_present(name, (i['img_path'] for i in data_list if 'img_path' in i))
        return data_list

    def _label_files(self) -> Iterator[str]:
        """The files that mmpretrain reads labels from, as far as they exist."""
        named = [self.ann_file, getattr(self, 'train_test_split_file', '')]
        return (path for path in named if path and os.path.exists(path))

    def _file_problem(self, path: str) -> str:
        return mat_problem(path)

    @classmethod
    def _name(cls, split: str) -> str:
        return f'{cls.__name__.removeprefix("Checked")} {split}'


class _Pickled:
    """Mixin for CIFAR, whose files are pickles of arrays, which come as RGB.

    They are given as BGR, as every loader of mmcv gives images.

    The colour operations of mmcv and mmpretrain weigh the channels in that order, and a padding
    colour is written in it. ``to_rgb=True`` in the data preprocessor, as for image files.
    """

    def load_data_list(self) -> list[dict]:
        data_list = super().load_data_list()
        for info in data_list:
            info['img'] = np.ascontiguousarray(info['img'][..., ::-1])
        return data_list

    def _label_files(self) -> Iterator[str]:
        listed = [*self.train_list, *self.test_list, [self.meta['filename']]]
        folder = os.path.join(self.data_prefix['root'], self.base_folder)
        paths = (os.path.join(folder, name) for name, *_ in listed)
        return (path for path in paths if os.path.exists(path))

    def _file_problem(self, path: str) -> str:
        return pickle_problem(path)


@DATASETS.register_module()
class CheckedCIFAR10(_Pickled, CheckedDataset, CIFAR10):
    """CIFAR-10: 10 classes, 50,000 training and 10,000 test images of 32 by 32 pixels, BGR.

    Arguments: see :class:`CheckedDataset`.
    """

    NUM_CLASSES = 10
    NUM_IMAGES = {'train': 50000, 'test': 10000}


@DATASETS.register_module()
class CheckedCIFAR100(_Pickled, CheckedDataset, CIFAR100):
    """CIFAR-100: 100 classes, 50,000 training and 10,000 test images of 32 by 32 pixels, BGR.

    Arguments: see :class:`CheckedDataset`.
    """

    NUM_CLASSES = 100
    NUM_IMAGES = {'train': 50000, 'test': 10000}


@DATASETS.register_module()
class CheckedFlowers102(CheckedDataset, Flowers102):
    """Oxford Flowers-102: 2,040 images to train on (train and val) and 6,149 to test on.

    Arguments: see :class:`CheckedDataset`.
    """

    # The archive numbers the classes and does not name them.
    METAINFO = {'classes': tuple(f'flower {i}' for i in range(1, 103))}
    NUM_CLASSES = 102
    NUM_IMAGES = {'train': 1020, 'val': 1020, 'trainval': 2040, 'test': 6149}


@DATASETS.register_module()
class CheckedStanfordCars(CheckedDataset, StanfordCars):
    """Stanford Cars: 196 classes, 8,144 training and 8,041 test images.

    Arguments: see :class:`CheckedDataset`.
    """

    NUM_CLASSES = 196
    NUM_IMAGES = {'train': 8144, 'test': 8041}
