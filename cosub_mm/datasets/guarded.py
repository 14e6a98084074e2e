"""A data set wrapper that names image files which cannot be decoded and labels out of range."""

import time
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import torch
from mmengine import fileio
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from PIL import Image
from torch.utils.data import Dataset

__all__ = ['POLICIES', 'BadImageError', 'BadLabelError', 'GuardedImages']

POLICIES = ('stop', 'skip')
IGNORED_LABEL = 255

# Seconds that the error message may take to look for more bad files.
SEARCH_TIME = 20.0
NAMED_FILES = 10


class BadImageError(ValueError):
    """An image or mask file that cannot be decoded."""


class BadLabelError(ValueError):
    """A segmentation mask with labels outside the range of the classes."""


@DATASETS.register_module()
class GuardedImages(Dataset):
    """Another data set, with errors that name the file.

    Any data set of mmpretrain or mmseg whose samples have an ``img_path`` (and a ``seg_map_path``)
    can be wrapped. Attributes that the wrapper lacks are those of the wrapped data set.

    Args:
        dataset: the data set, or its config.
        policy: what a file that cannot be decoded leads to. ``'stop'``: :class:`BadImageError`.
            ``'skip'``: the next sample that can be read takes its place, and the log names the
            file. A test score then counts that sample twice.
        lazy_init: do not load the list of samples yet.

    Raises:
        ValueError: an unknown policy.

    Reading a sample raises :class:`BadLabelError` when its mask, at the first read, holds a label
    that is no class; ``policy`` has no say in that.
    """

    def __init__(self, dataset: Dataset | dict, policy: str = 'stop', lazy_init: bool = False):
        if policy not in POLICIES:
            raise ValueError(f'policy={policy!r} is unknown; choose from {", ".join(POLICIES)}.')
        self.policy = policy
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self._bad: torch.Tensor | None = None
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Load the list of samples."""
        if self._bad is None:
            if hasattr(self.dataset, 'full_init'):
                self.dataset.full_init()
            # Shared memory: what one worker finds, the others and the next epoch know.
            self._bad = torch.zeros(len(self.dataset), dtype=torch.uint8).share_memory_()
            self._checked = torch.zeros(len(self.dataset), dtype=torch.uint8).share_memory_()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str):
        # Not for names of the copy and pickle protocols, which ask before there is a dataset.
        if name.startswith('__') or 'dataset' not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.dataset, name)

    @property
    def bad_files(self) -> int:
        """How many samples have been found undecodable so far, in all workers."""
        return 0 if self._bad is None else int(self._bad.sum())

    def __getitem__(self, idx: int) -> dict:
        self.full_init()
        skipped = []
        for i in self._from(idx):
            if self._bad[i]:
                continue
            try:
                self._check_labels(i)
                sample = self.dataset[i]
            except BadLabelError:
                raise
            except Exception as error:
                problem = self._problem(i)
                if problem is None:
                    raise
                if self.policy == 'stop':
                    raise BadImageError(self._describe(i, problem)) from error
                self._bad[i] = 1
                skipped.append(problem)
                continue
            for problem in skipped:
                self._log(problem, i)
            return sample
        raise BadImageError(f'None of the {len(self)} images can be decoded, e.g. {problem}.')

    def _from(self, idx: int) -> Iterator[int]:
        return ((idx + step) % len(self) for step in range(len(self)))

    def _problem(self, i: int) -> str | None:
        """The file of sample ``i`` that cannot be read, and why; None if it is none of them."""
        info = self.dataset.get_data_info(i)
        for path in (info.get('img_path'), info.get('seg_map_path')):
            if path:
                try:
                    _read(path)
                except Exception as error:
                    return f'{path} ({_reason(error)})'
        return None

    def _describe(self, i: int, problem: str) -> str:
        """The error message: this file, and as many others as can be found in short time."""
        problems, looked_at, end = [problem], 1, time.monotonic() + SEARCH_TIME
        for j in self._from(i + 1):
            if looked_at == len(self) or time.monotonic() > end:
                break
            looked_at += 1
            other = self._problem(j)
            if other:
                problems.append(other)
        files = f'{len(problems)} image file{"s" if len(problems) > 1 else ""}'
        rest = len(problems) - NAMED_FILES
        return (
            f'{files} cannot be decoded ({looked_at} of {len(self)} samples looked at): '
            + '; '.join(problems[:NAMED_FILES])
            + (f'; and {rest} more' if rest > 0 else '')
            + '. Replace or remove them, or use --on-bad-image skip to train without them.'
        )

    def _log(self, problem: str, replacement: int) -> None:
        path = self.dataset.get_data_info(replacement).get('img_path')
        MMLogger.get_current_instance().warning(
            f'Cannot decode {problem}; {path} takes its place. That makes {self.bad_files} of '
            f'{len(self)} samples left out so far.'
        )

    def _check_labels(self, i: int) -> None:
        """Compare the labels in the mask file with the classes, once for each sample."""
        if self._checked[i]:
            return
        info = self.dataset.get_data_info(i)
        path = info.get('seg_map_path')
        classes = _number_of_labels(info, getattr(self.dataset, 'metainfo', {}))
        if path and classes and fileio.exists(path):
            _check_mask(path, classes, bool(info.get('reduce_zero_label')))
        self._checked[i] = 1


def _number_of_labels(info: dict, metainfo: dict) -> int | None:
    """How many classes the files number: before a choice of classes maps them to fewer."""
    if info.get('label_map'):
        return max(info['label_map']) + 1
    return len(metainfo['classes']) if metainfo.get('classes') else None


def _check_mask(path: str, classes: int, reduce_zero_label: bool) -> None:
    labels = _read(path)
    if labels.ndim != 2:
        raise BadLabelError(
            f'{path} has shape {labels.shape}; a mask has one channel that holds class numbers, '
            f'not colours.'
        )
    largest = classes if reduce_zero_label else classes - 1
    wrong = (labels > largest) & (labels != IGNORED_LABEL)
    if labels.dtype.kind == 'i':
        wrong |= labels < 0
    if not wrong.any():
        return
    found = np.unique(labels[wrong])
    allowed = (
        f'1 to {classes} for the {classes} classes, 0 and {IGNORED_LABEL} for pixels to ignore '
        f'(reduce_zero_label)'
        if reduce_zero_label
        else f'0 to {classes - 1} for the {classes} classes, {IGNORED_LABEL} for pixels to ignore'
    )
    raise BadLabelError(
        f'{path} holds {int(wrong.sum())} pixels with labels out of range: '
        f'{", ".join(map(str, found[:NAMED_FILES]))}{", ..." if len(found) > NAMED_FILES else ""}. '
        f'Allowed are {allowed}. Mend the mask, or the classes of the data set.'
    )


def _read(path: str) -> np.ndarray:
    with Image.open(BytesIO(fileio.get(path))) as image:
        return np.asarray(image)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'there is no such file'
    if type(error).__name__ == 'UnidentifiedImageError':
        return 'not an image'
    return str(error) or type(error).__name__
