"""Which images a big data set has: class folders, or a tar shard for each class.

ImageNet-21k comes as one tar file a class, in fall 2011 as in winter 2021. An *index* is a folder
``cosub_index`` beside the classes with a text file for each of them, which the preparation command
writes; with it, millions of images are known without looking at them again.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ['INDEX', 'RELEASES', 'ClassSource', 'Sample', 'find_classes', 'read_index', 'scan']

INDEX = 'cosub_index'
SUFFIXES = ('.jpeg', '.jpg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
# Classes of the two releases of ImageNet-21k.
RELEASES = {21841: 'fall 2011', 19167: 'winter 2021'}
_BLOCK = 512


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
        """Changes when the shard or the folder does."""
        state = self.path.stat()
        return f'{state.st_size if self.is_shard else 0} {state.st_mtime_ns}'


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
    """
    samples = _scan_shard(source.path) if source.is_shard else _scan_folder(source.path)
    return sorted(samples)


def read_index(source: ClassSource, index: Path) -> list[Sample] | None:
    """Images of a class as the preparation listed them; None if it is missing or outdated."""
    file = index / f'{source.name}.tsv'
    if not file.is_file():
        return None
    stamp, *lines = file.read_text(encoding='utf-8').splitlines()
    if stamp != source.stamp:
        return None
    rows = (line.split('\t') for line in lines)
    return [Sample(name, int(offset), int(size)) for name, offset, size in rows]


def _scan_folder(folder: Path) -> Iterator[Sample]:
    for entry in os.scandir(folder):
        if entry.name.lower().endswith(SUFFIXES):
            yield Sample(entry.name)


def _scan_shard(path: Path) -> Iterator[Sample]:
    again = 'Copy or download it again.'
    end = 0
    try:
        # 'r:' refuses compression: bytes could not be reached by their position.
        with tarfile.open(path, 'r:') as shard:
            for member in shard:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if member.isfile() and member.name.lower().endswith(SUFFIXES):
                    yield Sample(member.name, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ValueError(
            f"The shard '{path}' is cut short or no plain tar file ({error}). {again}"
        ) from error
    # tarfile takes a file that ends between two members for whole; a whole one ends with zeros.
    if path.stat().st_size < end + _BLOCK:
        raise ValueError(f"The shard '{path}' is cut short: it has no end mark. {again}")


def _has_image(folder: Path) -> bool:
    return any(e.name.lower().endswith(SUFFIXES) for e in os.scandir(folder))
