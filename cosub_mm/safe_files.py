"""What a safe data file is, decided in one place.

Lists and archives come from strangers: a name in them may leave the data root, a file below it may
be a pipe that never ends, and a text may be larger than the memory. A data file is a regular file,
named by a plain relative path, and read only up to a size that its kind can have.
"""

import json
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    'MAX_IMAGE',
    'MAX_LIST',
    'UnsafeFileError',
    'name_problem',
    'path_below',
    'read_json',
    'read_lines',
    'read_member',
    'read_text',
    'regular_names',
]

MAX_IMAGE = 256 * 2**20
"""Bytes of an image or mask in an archive."""
MAX_LIST = 2**30
"""Bytes of a list of images; the one of iNaturalist-2018 has 120 MB."""


# Also what str.splitlines takes for the end of a line.
_CONTROL = re.compile(
    '[\x00-\x1f\x7f\x85\u2028\u2029]'
)  # also what str.splitlines takes for an end


class UnsafeFileError(ValueError):
    """A name or a file that no data set needs and that can do harm."""


def name_problem(name: object) -> str:
    """Why a name of a list or an archive is not taken, or an empty string."""
    if not isinstance(name, str) or not name:
        return 'no name'
    if name.startswith('/') or '://' in name or '..' in name.split('/'):
        return 'a name that leaves its folder'
    try:
        name.encode('utf-8')
    except UnicodeEncodeError:
        return 'a name that is not UTF-8'
    if _CONTROL.search(name):
        return 'a name with control characters'
    return ''


def path_below(root: str, name: object, source: str | Path) -> str:
    """Path of ``name`` below ``root``.

    Args:
        root: the data root.
        name: a relative path from a list.
        source: the list, for the message.

    Raises:
        UnsafeFileError: the name is absolute, leaves the root or is no plain text.
    """
    problem = name_problem(name)
    if problem:
        raise UnsafeFileError(
            f'{source}: {ascii(name)[:100]} is {problem}; images are named by plain paths relative '
            f'to their root.'
        )
    return os.path.join(root, name)


def regular_names(folder: str | Path) -> set[str]:
    """Names of the regular files of a folder, links to such included; empty if there is none."""
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


def read_text(path: str | Path, limit: int = MAX_LIST) -> str:
    """Text of a list that lies on this machine.

    Raises:
        UnsafeFileError: no regular file (a pipe, a device, a folder), larger than ``limit`` bytes,
            or not UTF-8.
    """
    _check_readable(path, limit)
    try:
        return Path(path).read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise UnsafeFileError(f'{path} is not UTF-8 ({error.reason}).') from error


def read_lines(path: str | Path, limit: int = MAX_LIST) -> Iterator[str]:
    """Lines of a list that lies on this machine, one after the other, without their ends.

    Only a line feed, or carriage return and line feed, ends a line.

    Raises:
        UnsafeFileError: as :func:`read_text`.
    """
    _check_readable(path, limit)
    with open(path, encoding='utf-8', newline='\n') as file:
        try:
            for line in file:
                yield line.removesuffix('\n').rstrip('\r')
        except UnicodeDecodeError as error:
            raise UnsafeFileError(f'{path} is not UTF-8 ({error.reason}).') from error


def _check_readable(path: str | Path, limit: int) -> None:
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise UnsafeFileError(f'{path} is no regular file, so it is not read.')
    if state.st_size > limit:
        raise UnsafeFileError(
            f'{path} has {state.st_size:,} bytes; a list of this kind has at most {limit:,}.'
        )


def read_json(path: str | Path, limit: int = MAX_LIST) -> object:
    """Content of a JSON file that lies on this machine.

    Raises:
        UnsafeFileError: as :func:`read_text`, or nested deeper than Python follows.
        json.JSONDecodeError: no whole JSON.
    """
    text = read_text(path, limit)
    try:
        return json.loads(text)
    except RecursionError:
        raise UnsafeFileError(f'{path} is nested too deep for a list of images.') from None


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int = MAX_IMAGE) -> bytes:
    """Bytes of a member of a zip archive.

    Raises:
        UnsafeFileError: it unpacks to more than ``limit`` bytes, is encrypted, or is compressed in
            a way that this Python does not know.
        zipfile.BadZipFile: it is damaged.
    """
    name = ascii(info.filename)
    if info.file_size > limit:
        raise UnsafeFileError(
            f'{name} unpacks to {info.file_size:,} bytes; such a file has at most {limit:,}'
        )
    if info.flag_bits & 1:
        raise UnsafeFileError(f'{name} is encrypted')
    try:
        return archive.read(info)
    except (NotImplementedError, RuntimeError) as error:
        raise UnsafeFileError(f'{name} is compressed in an unknown way ({error})') from error
