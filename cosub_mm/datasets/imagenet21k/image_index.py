"""Which images a big data set has: class folders, or a tar shard for each class.

ImageNet-21k comes as one tar file a class, in fall 2011 as in winter 2021. An *index* is a folder
``cosub_index`` beside the classes with a text file for each of them, which the preparation command
writes; with it, millions of images are known without looking at them again.
"""

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cosub_mm.safe_files import (
    MAX_IMAGE,
    MAX_INDEX,
    SafeTarInfo,
    UnsafeFileError,
    name_problem,
    open_regular,
    read_lines,
)

__all__ = [
    'INDEX',
    'RELEASES',
    'ClassSource',
    'Sample',
    'find_classes',
    'read_index',
    'scan',
    'scan_all',
]

INDEX = 'cosub_index'
SUFFIXES = ('.jpeg', '.jpg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
# Classes of the two releases of ImageNet-21k.
RELEASES = {21841: 'fall 2011', 19167: 'winter 2021'}
_BLOCK = 512
_PIECE = 4096  # the least that a disk reads
# What no file is larger than; Python refuses to read numbers of 4,300 digits.
_NUMBER = re.compile('-?[0-9]{1,18}')


class Sample(NamedTuple):
    """An image: its name in the class, and where it lies in a shard (offset -1: a file)."""

    name: str
    offset: int = -1
    size: int = 0


@dataclass(frozen=True)
class ClassSource:
    """Where the images of a class are: a folder or a tar shard."""

    name: str
    path: Path

    @property
    def is_shard(self) -> bool:
        return self.path.suffix == '.tar'

    @property
    def stamp(self) -> str:
        """Changes when the shard or the folder does.

        Size and time alone are those of another shard that was copied or unpacked into its place:
        of a shard its head, its middle and its end count, too.
        """
        state = self.path.stat()
        if not self.is_shard:
            return f'0 {state.st_mtime_ns}'
        return f'{state.st_size} {state.st_mtime_ns} {_fingerprint(self.path, state.st_size)}'

    def is_as(self, stamp: str) -> bool:
        """Whether a stamp that was written down is that of today; older ones have no sum."""
        today = self.stamp
        return stamp == today or (stamp.count(' ') == 1 and today.startswith(f'{stamp} '))


def find_classes(root: str | os.PathLike) -> list[ClassSource]:
    """Classes below a root, sorted by name.

    Args:
        root: a folder of class folders or of tar shards. A single folder in between, such as
            ``winter21_whole``, is entered.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no class in it, or class folders and shards mixed.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"There is no data root '{root}'. Give it by --data-root.")
    entries = sorted(e for e in root.iterdir() if e.name != INDEX and not e.name.startswith('.'))
    folders = [e for e in entries if e.is_dir()]
    shards = [e for e in entries if e.suffix == '.tar' and e.is_file()]
    if folders and shards:
        raise ValueError(
            f"'{root}' holds {len(folders)} folders and {len(shards)} tar shards. A class must not "
            f'come twice: keep the folders or the shards.'
        )
    if len(folders) == 1 and not _has_image(folders[0]):
        return find_classes(folders[0])
    if not folders and not shards:
        raise ValueError(
            f"There is no class in '{root}': expected are folders CLASS/IMAGE or shards CLASS.tar."
        )
    return [ClassSource(e.name.removesuffix('.tar'), e) for e in folders or shards]


def scan(source: ClassSource) -> list[Sample]:
    """Images of a class, sorted by name, found by looking at the folder or through the shard.

    Raises:
        ValueError: a shard that is cut short or no tar file.
        UnsafeFileError: an image that is no plain file, or has a name that is no plain text.
    """
    samples, unsafe = scan_all(source)
    for sample, problem in unsafe:
        raise UnsafeFileError(f"'{source.path}': {sample.name!a} is {problem}. Remove it.")
    return samples


def scan_all(source: ClassSource) -> tuple[list[Sample], list[tuple[Sample, str]]]:
    """As :func:`scan`, with what is not safe to read apart, and why.

    Raises:
        ValueError: a shard that is cut short or no tar file.
    """
    found = _scan_shard(source.path) if source.is_shard else _scan_folder(source.path)
    samples, unsafe = [], []
    for sample, problem in sorted(found):
        problem = name_problem(sample.name) or problem
        if sample.size > MAX_IMAGE:
            problem = problem or f'larger than {MAX_IMAGE:,} bytes'
        if problem:
            unsafe.append((sample, problem))
        else:
            samples.append(sample)
    return samples, unsafe


def read_index(source: ClassSource, index: Path) -> list[Sample] | None:
    """Images of a class as the preparation listed them; None if it is missing or outdated.

    Raises:
        UnsafeFileError: it lists what the preparation would not: names that leave the class, or
            positions outside its shard.
    """
    file = index / f'{source.name}.tsv'
    if not file.is_file():
        return None
    lines = read_lines(file, MAX_INDEX)
    if not source.is_as(next(lines, '')):
        return None
    end = source.path.stat().st_size if source.is_shard else 0
    return [_checked(line, file, end) for line in lines]


def _checked(line: str, file: Path, end: int) -> Sample:
    """A line of an index; ``end`` is the size of the shard, 0 for a folder."""
    name, *place = line.split('\t')
    right = not name_problem(name) and len(place) == 2
    if right and all(map(_NUMBER.fullmatch, place)):
        sample = Sample(name, *map(int, place))
        inside = sample.offset >= 0 and sample.size >= 0 and sample.offset + sample.size <= end
        if inside if end else sample[1:] == (-1, 0):
            return sample
    raise UnsafeFileError(
        f'{file}: {line[:100]!r} is no line of an index that was made here. Delete '
        f'{file.parent} and run tools/dataset_converters/prepare_imagenet21k.py.'
    )


def _fingerprint(path: Path, size: int) -> str:
    """Sum of three pieces of a file: its first header, its middle, and its end."""
    digest = hashlib.blake2b(digest_size=8)
    with open_regular(path) as file:
        for place in (0, size // 2, max(0, size - _PIECE)):
            digest.update(os.pread(file.fileno(), _PIECE, place))
    return digest.hexdigest()


def _scan_folder(folder: Path) -> Iterator[tuple[Sample, str]]:
    for entry in os.scandir(folder):
        if entry.name.lower().endswith(SUFFIXES):
            yield Sample(entry.name), '' if entry.is_file() else 'no regular file'


def _scan_shard(path: Path) -> Iterator[tuple[Sample, str]]:
    again = 'Copy or download it again.'
    end = 0
    try:
        # 'r:' refuses compression: bytes could not be reached by their position.
        with (
            open_regular(path) as file,
            tarfile.open(fileobj=file, mode='r:', tarinfo=SafeTarInfo) as shard,
        ):
            size = os.fstat(file.fileno()).st_size
            while member := shard.next():
                shard.members.clear()  # it keeps them all otherwise
                if member.size < 0:  # by a pax record; tarfile would go in a circle
                    raise UnsafeFileError(f'{ascii(member.name)[:100]} has a size below zero')
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if end > size:
                    raise tarfile.ReadError(f'it ends in {ascii(member.name)[:100]}')
                if member.name.lower().endswith(SUFFIXES) and not member.isdir():
                    problem = '' if member.isfile() else 'a link or device'
                    problem = 'a sparse file' if member.issparse() else problem
                    yield Sample(member.name, member.offset_data, member.size), problem
    except UnsafeFileError as error:
        raise UnsafeFileError(f"The shard '{path}': {error}. {again}") from error
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise ValueError(
            f"The shard '{path}' is cut short or no plain tar file ({error}). {again}"
        ) from error
    # tarfile takes a file that ends between two members for whole; a whole one ends with zeros.
    if path.stat().st_size < end + _BLOCK:
        raise ValueError(f"The shard '{path}' is cut short: it has no end mark. {again}")


def _has_image(folder: Path) -> bool:
    return any(e.name.lower().endswith(SUFFIXES) for e in os.scandir(folder))
