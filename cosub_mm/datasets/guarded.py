"""A data set wrapper that names image files which cannot be decoded and labels out of range."""

import time
from collections.abc import Iterator

import torch
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from cosub_mm.safe_files import UnsafeFileError, shown

from .decoding import LoadPicture, allow_pixels, check_picture, decode, read_array, read_file
from .file_state import check_readable, state_of
from .masks import BadLabelError, check_mask, size_problem
from .picture_steps import keep_pictures

__all__ = ['POLICIES', 'BadImageError', 'BadLabelError', 'GuardedImages']

POLICIES = ('stop', 'skip')

# Seconds that the error message may take to look for more bad files.
SEARCH_TIME = 20.0
NAMED_FILES = 10
# So many pictures in a row on which a transform fails are a fault of the pipeline, not of them.
FAILURES_IN_A_ROW = 20


class BadImageError(ValueError):
    """A picture or mask that cannot be decoded, do not fit together, or fail in a transform."""


@DATASETS.register_module()
class GuardedImages(Dataset):
    """Another data set, with errors that name the file.

    Any data set of mmpretrain or mmseg whose samples have an ``img_path`` (and a ``seg_map_path``)
    can be wrapped. Attributes that the wrapper lacks are those of the wrapped data set.

    Args:
        dataset: the data set, or its config.
        policy: what a file that cannot be decoded, a mask of another size than its picture, or a
            picture on which a transform fails leads to. ``'stop'``: :class:`BadImageError`.
            ``'skip'``: the next sample that can be read takes its place, and the log names the
            file. A test score then counts that sample twice.
        upright: whether the pipeline turns pictures as their EXIF tags say, as loaders do unless
            their ``color_type`` ignores it. Masks must fit the picture as it is loaded.
        max_pixels: see :func:`.decoding.allow_pixels`.
        lazy_init: do not load the list of samples yet.

    Raises:
        ValueError: an unknown policy.

    Reading a sample raises :class:`BadLabelError` when its mask, at the first read, holds a label
    that is no class; ``policy`` has no say in that.
    """

    def __init__(
        self,
        dataset: Dataset | dict,
        policy: str = 'stop',
        upright: bool = True,
        max_pixels: int | None = None,
        lazy_init: bool = False,
    ) -> None:
        if policy not in POLICIES:
            raise ValueError(f'policy={policy!r} is unknown; choose from {", ".join(POLICIES)}.')
        self.policy, self.upright, self.max_pixels = policy, upright, max_pixels
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        # Other loaders decode what LoadPicture refuses by its size.
        self._foreign = any(map(_is_foreign, _transforms(self.dataset)))
        keep_pictures(self.dataset)
        self._bad: torch.Tensor | None = None
        self._changed = 0
        if not lazy_init:
            self.full_init()

    def full_init(self) -> None:
        """Load the list of samples."""
        if self._bad is None:
            if hasattr(self.dataset, 'full_init'):
                self.dataset.full_init()
            # Shared memory: what one worker finds, the others and the next epoch know.
            self._bad = torch.zeros(len(self.dataset), dtype=torch.uint8).share_memory_()
            # Of each mask that has been checked, the state in which it was; 0 before.
            self._checked = torch.zeros(len(self.dataset), dtype=torch.int64).share_memory_()

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
        allow_pixels(self.max_pixels)  # here, as a worker process may be a new one
        skipped, failures, problem = [], 0, None
        for i in self._from(idx):
            if self._bad[i]:
                continue
            try:
                info = self.dataset.get_data_info(i)
                check_readable(info.get('img_path'), info.get('seg_map_path'))
                problem = self._misfit(i, info)
                sample = None if problem else self.dataset[i]
            except BadLabelError:
                raise
            except Exception as error:
                cause = error
                problem = self._problem(i)
                failures = 0 if problem else failures + 1
                problem = problem or self._failure(i, error)
            else:
                cause = None
            if problem is None:
                for one in skipped:
                    self._log(one, i)
                return sample
            if self.policy == 'stop' or failures > FAILURES_IN_A_ROW:
                raise BadImageError(self._describe(i, problem, failures)) from cause
            self._bad[i] = 1
            skipped.append(problem)
        raise BadImageError(f'None of the {len(self)} images can be used, e.g. {problem}.')

    def _from(self, idx: int) -> Iterator[int]:
        return ((idx + step) % len(self) for step in range(len(self)))

    def _problem(self, i: int) -> str | None:
        """The file of sample ``i`` that cannot be read, and why; None if it is none of them."""
        info = self.dataset.get_data_info(i)
        readers = ((info.get('img_path'), _read_picture), (info.get('seg_map_path'), read_array))
        for path, read in readers:
            if path:
                try:
                    read(path)
                except Exception as error:
                    return f'{shown(path)} ({_reason(error)})'
        return None

    def _failure(self, i: int, error: Exception) -> str:
        """The picture of sample ``i`` on which a transform fails, and how."""
        path = shown(self.dataset.get_data_info(i).get('img_path') or f'sample {i}')
        text = next(iter(str(error).strip().splitlines()), '')
        return f'{path} (decoded, but a transform fails on it: {type(error).__name__}: {text})'

    def _describe(self, i: int, problem: str, failures: int) -> str:
        """The error message: this file, and as many others as can be found in short time."""
        if failures > FAILURES_IN_A_ROW:
            return (
                f'{failures} pictures in a row fail in the same pipeline, which looks like a fault '
                f'of the pipeline; the last one is {problem}.'
            )
        if failures or ' mask ' in problem:
            return (
                f'{problem}. Mend or remove it, or use --on-bad-image skip to train without such '
                f'pictures.'
            )
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
        path = shown(self.dataset.get_data_info(replacement).get('img_path'))
        MMLogger.get_current_instance().warning(
            f'Cannot use {problem}; {path} takes its place. That makes {self.bad_files} of '
            f'{len(self)} samples left out so far.'
        )

    def _misfit(self, i: int, info: dict) -> str | None:
        """Compare the mask's file with classes and picture, once for each state of the two.

        Raises:
            BadLabelError: a label that is no class.
        """
        path, picture = info.get('seg_map_path'), info.get('img_path')
        if not path and not (picture and self._foreign):
            return None
        state, before = state_of(path, picture), int(self._checked[i])
        if state == before:
            return None
        if picture and self._foreign:
            check_picture(picture)
        if not path or not fileio.exists(path):
            self._checked[i] = state if not path else 0
            return None
        if before:
            self._tell_of_change(path)
        classes = _number_of_labels(info, getattr(self.dataset, 'metainfo', {}))
        labels = read_array(path)
        check_mask(
            path,
            labels,
            classes,
            reduce_zero_label=bool(info.get('reduce_zero_label')),
            ignore_index=getattr(self.dataset, 'ignore_index', 255),
        )
        problem = size_problem(path, labels, picture, self.upright)
        if problem is None:
            self._checked[i] = state
        return problem

    def _tell_of_change(self, path: str) -> None:
        self._changed += 1
        if self._changed > NAMED_FILES:
            return
        more = ' Others will not be named.' if self._changed == NAMED_FILES else ''
        MMLogger.get_current_instance().warning(
            f'{shown(path)} or its picture was written or replaced since it was first read, and is '
            f'checked again: what is trained on is not what it was.{more}'
        )


def _number_of_labels(info: dict, metainfo: dict) -> int | None:
    """How many classes the files number: before a choice of classes maps them to fewer."""
    if info.get('label_map'):
        return max(info['label_map']) + 1
    return len(metainfo['classes']) if metainfo.get('classes') else None


def _transforms(dataset: Dataset) -> list:
    pipeline = getattr(dataset, 'pipeline', None)
    return list(getattr(pipeline, 'transforms', None) or [])


def _is_foreign(step: object) -> bool:
    return isinstance(step, LoadImageFromFile) and not isinstance(step, LoadPicture)


def _read_picture(path: str) -> None:
    decode(read_file(path))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return 'there is no such file'
    if type(error).__name__ == 'UnidentifiedImageError':
        return 'not an image'
    if isinstance(error, UnsafeFileError):
        return str(error).rstrip('.')
    return str(error) or type(error).__name__
