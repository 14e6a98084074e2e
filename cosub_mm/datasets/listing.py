"""Checks of what a data set lists, before anything is trained on it."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from cosub_mm.safe_files import regular_names

__all__ = ['check_classes_present', 'check_count', 'check_files_present']


def check_count(name: str, found: int, expected: int, what: str = 'images') -> None:
    """Raise a ValueError unless a data set has the published number of something.

    Args:
        name: data set and split, for the message.
        found: what it has.
        expected: what its authors publish.
        what: what is counted.
    """
    if found != expected:
        raise ValueError(
            f'{name} has {found:,} {what}, but the official one has {expected:,}. Unpack it again '
            f'(docs/prepare_data.md), or set check=False for a data set cut by yourself.'
        )


def check_files_present(name: str, paths: Iterable[str]) -> None:
    """Raise a FileNotFoundError that counts and names the listed files that do not exist.

    Folders are listed instead of asking for each of half a million files. A pipe or a device, which
    would hold a training for ever, counts as missing.
    """
    folders = defaultdict(list)
    for path in paths:
        folder, file = os.path.split(path)
        folders[folder].append(file)
    missing = []
    for folder, files in folders.items():
        present = regular_names(folder)
        missing += [os.path.join(folder, file) for file in files if file not in present]
    if missing:
        total = sum(map(len, folders.values()))
        raise FileNotFoundError(
            f'{name}: {len(missing):,} of {total:,} listed images are missing, e.g. '
            f'{_examples(missing)}. The annotations do not match the folder: is the archive '
            f'unpacked completely, and is data_root right (docs/prepare_data.md)?'
        )


def check_classes_present(name: str, labels: Iterable[int], classes: Sequence[str]) -> None:
    """Raise a ValueError that names the classes without an image."""
    present = set(labels)
    empty = [classes[i] for i in range(len(classes)) if i not in present]
    if empty:
        raise ValueError(
            f'{name}: {len(empty):,} of {len(classes):,} classes have no image, e.g. '
            f'{_examples(empty)}. Set check=False for a data set cut by yourself.'
        )


def one_of(value: str, allowed: Mapping | Sequence, name: str) -> None:
    """Raise a ValueError that names the allowed values."""
    if value not in allowed:
        raise ValueError(f'{name}={value!r} is unknown; choose from {", ".join(allowed)}.')


def _examples(names: Sequence[str], number: int = 3) -> str:
    more = ', ...' if len(names) > number else ''
    return ', '.join(map(str, names[:number])) + more
