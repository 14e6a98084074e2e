"""Names and places of millions of images in a few arrays, mapped from disk where they lie there.

A Python string an image would take gigabytes, and a copy in each worker as soon as its reference
count is touched. Arrays that are mapped take no memory of their own: all processes of a machine
share the pages that the system keeps of the file.
"""

import hashlib
import mmap
import os
import shutil
import stat
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np

from cosub_mm.safe_files import MAX_IMAGE, MAX_LIST, UnsafeFileError, open_regular

from .image_index import ClassSource, Sample

__all__ = ['ImageTable', 'packed_path']

_PACKED = 'packed_'
# Little-endian on every machine. Ends are those of the names in their block of bytes.
_DTYPES = {'class_ends': '<i8', 'ends': '<i8', 'names': 'u1', 'offsets': '<i8', 'sizes': '<i8'}


class ImageTable:
    """Images by their number: class, name and, in shards, the place.

    Args:
        columns: arrays by name, as in ``_DTYPES``; ``offsets`` and ``sizes`` for shards only.
        folder: where they are mapped from; a copy in another process maps them, too.
    """

    def __init__(self, columns: dict[str, np.ndarray], folder: Path | None = None) -> None:
        self.columns, self.folder = columns, folder

    def __len__(self) -> int:
        return len(self.columns['ends'])

    def __getstate__(self) -> dict:
        return dict(columns=None if self.folder else self.columns, folder=self.folder)

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self.folder:
            self.columns = _map(self.folder)

    def label(self, index: int) -> int:
        """Number of the class."""
        return int(np.searchsorted(self.columns['class_ends'], index, side='right'))

    def name(self, index: int) -> str:
        """Name in the class."""
        ends = self.columns['ends']
        start = ends[index - 1] if index else 0
        return self.columns['names'][start : ends[index]].tobytes().decode()

    def place(self, index: int) -> tuple[int, int] | None:
        """Offset and size in the shard of the class; None for a file of its own."""
        if 'offsets' not in self.columns:
            return None
        return int(self.columns['offsets'][index]), int(self.columns['sizes'][index])

    @classmethod
    def of(cls, classes: Iterable[Sequence[Sample]], in_shards: bool) -> 'ImageTable':
        """From the images of each class; only one class at a time is held as objects."""
        class_ends, ends, offsets, sizes = array('q'), array('q'), array('q'), array('q')
        names = bytearray()
        for samples in classes:
            for name, offset, size in samples:
                names += name.encode()
                ends.append(len(names))
                if in_shards:
                    offsets.append(offset)
                    sizes.append(size)
            class_ends.append(len(ends))
        columns = dict(class_ends=class_ends, ends=ends, names=names)
        if in_shards:
            columns.update(offsets=offsets, sizes=sizes)
        return cls({key: np.frombuffer(c, _DTYPES[key]) for key, c in columns.items()})

    def save(self, folder: Path) -> 'ImageTable':
        """Write the table, whole or not at all, and return it as it is mapped from there.

        Args:
            folder: from :func:`packed_path`; tables of other states of the data beside it go.
        """
        part = Path(tempfile.mkdtemp(prefix=f'{folder.name}.part_', dir=folder.parent))
        try:
            for key, column in self.columns.items():
                column.tofile(part / key)
            part.chmod(0o755)
            for old in folder.parent.glob(f'{_PACKED}*'):
                if '.part_' not in old.name and old != folder:
                    shutil.rmtree(old, ignore_errors=True)
            with suppress(OSError):  # another process has written the same
                os.rename(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return ImageTable(_map(folder), folder)

    @classmethod
    def load(cls, folder: Path, sources: Sequence[ClassSource]) -> 'ImageTable | None':
        """The table of a folder; None if there is none.

        Raises:
            UnsafeFileError: it is not what :meth:`save` writes for these classes.
        """
        if not folder.is_dir():
            return None
        problem = _problem(folder, sources)
        if problem:
            raise UnsafeFileError(
                f'{folder}: {problem}, so it was not made here. Delete {folder} and run '
                f'tools/dataset_converters/prepare_imagenet21k.py.'
            )
        return cls(_map(folder), folder)


def packed_path(index: Path, sources: Sequence[ClassSource]) -> Path:
    """Where the table of these classes is; another path as soon as a shard or folder changes."""
    # A network disk answers each of three reads a shard after milliseconds.
    with ThreadPoolExecutor(16) as pool:
        stamps = pool.map(lambda source: source.stamp, sources)
        lines = [f'{source.name}\t{stamp}\n' for source, stamp in zip(sources, stamps)]
    digest = hashlib.sha256(''.join(lines).encode()).hexdigest()
    return index / f'{_PACKED}{digest[:16]}'


def _map(folder: Path) -> dict[str, np.ndarray]:
    columns = {}
    for key, dtype in _DTYPES.items():
        try:
            with open_regular(folder / key) as file:
                mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            continue
        columns[key] = np.frombuffer(mapped, dtype)
    return columns


def _problem(folder: Path, sources: Sequence[ClassSource]) -> str:
    """What is wrong with the files of a table, or an empty string.

    They are read here, not mapped: what has been looked at need not stay in memory.
    """
    sizes = {key: _size(folder / key) for key in _DTYPES}
    odd = [key for key, size in sizes.items() if size is None or size > MAX_LIST]
    if odd:
        return f'{odd[0]} is no regular file, or has more than {MAX_LIST:,} bytes'
    if not sources[0].is_shard and sizes['offsets'] + sizes['sizes']:
        return 'images with a place in a shard'

    if sizes['class_ends'] != 8 * len(sources):
        return 'another number of classes or images'

    def read(key: str) -> np.ndarray:
        return np.fromfile(folder / key, _DTYPES[key]) if sizes[key] else np.empty(0, _DTYPES[key])

    # Sizes are compared before what they belong to is read.
    class_ends = read('class_ends')
    if sizes['ends'] == 0 or sizes['ends'] != 8 * class_ends[-1]:
        return 'another number of classes or images'
    if sources[0].is_shard and not sizes['offsets'] == sizes['sizes'] == sizes['ends']:
        return 'images without a place'
    if sizes['names'] != int.from_bytes(_last_bytes(folder / 'ends'), 'little'):
        return 'names that are cut short'
    ends = read('ends')
    if class_ends[0] < 0 or np.any(np.diff(class_ends) < 0):
        return 'classes out of order'
    if ends[0] <= 0 or np.any(np.diff(ends) <= 0):
        return 'an image without a name'
    if not sources[0].is_shard:
        return _problem_of_names(read('names'), ends)
    offsets, lengths = read('offsets'), read('sizes')
    if offsets.min() < 0 or lengths.min() < 0 or lengths.max() > MAX_IMAGE:
        return 'an image of no possible size'
    offsets += lengths
    starts = np.concatenate([[0], class_ends[:-1]])
    for source, start, end in zip(sources, starts, class_ends):
        if end > start and offsets[start:end].max() > source.path.stat().st_size:
            return f'an image behind the end of {source.path.name}'
    return ''


def _last_bytes(path: Path, number: int = 8) -> bytes:
    with open_regular(path) as file:
        file.seek(-number, os.SEEK_END)
        return file.read()


def _size(path: Path) -> int | None:
    """Bytes of a file, 0 for none; None for what is no regular file."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return 0
    return state.st_size if stat.S_ISREG(state.st_mode) else None


def _problem_of_names(names: np.ndarray, ends: np.ndarray) -> str:
    if np.any((names < 32) | (names == 127) | (names == ord('/'))):
        return 'a name that leaves its folder, or with control characters'
    short = np.flatnonzero(np.diff(ends, prepend=0) <= 2)
    if any(names[ends[i] - 1] == ord('.') for i in short):
        return 'a name that leaves its folder'
    return ''
