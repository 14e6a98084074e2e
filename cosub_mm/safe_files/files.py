"""Names and files: what is not taken, and reading that neither waits nor fills the memory.

A name in a list may leave the data root, a file below it may be a pipe that never ends, and a text
may be larger than the memory. A data file is a regular file, named by a plain relative path, and
read only up to a size that its kind can have.
"""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = [
    'MAX_IMAGE',
    'MAX_INDEX',
    'MAX_LIST',
    'UnsafeFileError',
    'name_problem',
    'open_regular',
    'path_below',
    'read_bytes',
    'read_json',
    'read_lines',
    'read_text',
    'regular_names',
    'shown',
]

MAX_IMAGE = 256 * 2**20
"""Bytes of an image or mask."""
MAX_LIST = 2**30
"""Bytes of a list of images."""
MAX_JSON = 256 * 2**20
"""Bytes of a JSON file; the one of iNaturalist-2018 has 120 MB."""
MAX_INDEX = 64 * 2**20
"""Bytes of the list of one class: a million images."""
MAX_LINE = 2**16
"""Characters of a line of a list; names of files have at most some thousands."""
MAX_VALUES = 8_000_000
"""Commas and brackets of a JSON file, some 100 bytes each; iNaturalist-2018 has 5 million."""

# Also what str.splitlines takes for the end of a line.
_CONTROL = re.compile('[\x00-\x1f\x7f\x85\u2028\u2029]')


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


def shown(name: object) -> str:
    """A name for a message: in ASCII where it starts a line or is no text that can be written.

    Args:
        name: a path, as the file system has it.
    """
    text = str(name)
    return text if text.isprintable() else ascii(text)


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file to read, without buffering; never waits for the other end of a pipe.

    Raises:
        UnsafeFileError: a pipe, a device, a socket or a folder.
        OSError: it cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UnsafeFileError(f'{path} is no regular file, so it is not read.')
        return os.fdopen(descriptor, 'rb', buffering=0)
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: str | Path, limit: int = MAX_IMAGE) -> bytes:
    """Content of a file of this machine.

    Raises:
        UnsafeFileError: no regular file, or larger than ``limit`` bytes.
    """
    with open_regular(path) as file:
        _check_size(path, file, limit)
        return file.read()


def read_text(path: str | Path, limit: int = MAX_LIST) -> str:
    """Text of a list that lies on this machine.

    Raises:
        UnsafeFileError: no regular file (a pipe, a device, a folder), larger than ``limit`` bytes,
            or not UTF-8.
    """
    try:
        return read_bytes(path, limit).decode('utf-8')
    except UnicodeDecodeError as error:
        raise UnsafeFileError(f'{path} is not UTF-8 ({error.reason}).') from error


def read_lines(path: str | Path, limit: int = MAX_LIST) -> Iterator[str]:
    """Lines of a list that lies on this machine, one after the other, without their ends.

    Only a line feed, or carriage return and line feed, ends a line.

    Raises:
        UnsafeFileError: as :func:`read_text`, or a line of more than 65,536 characters.
    """
    with open_regular(path) as raw:
        _check_size(path, raw, limit)
        with open(raw.fileno(), encoding='utf-8', newline='\n', closefd=False) as file:
            try:
                while line := file.readline(MAX_LINE + 1):
                    if len(line) > MAX_LINE:
                        raise UnsafeFileError(
                            f'{path} has a line of more than {MAX_LINE:,} characters.'
                        )
                    yield line.removesuffix('\n').rstrip('\r')
            except UnicodeDecodeError as error:
                raise UnsafeFileError(f'{path} is not UTF-8 ({error.reason}).') from error


def _check_size(path: str | Path, file: BinaryIO, limit: int) -> None:
    size = os.fstat(file.fileno()).st_size
    if size > limit:
        raise UnsafeFileError(
            f'{path} has {size:,} bytes; a file of this kind has at most {limit:,}.'
        )


def read_json(path: str | Path, limit: int = MAX_JSON, values: int = MAX_VALUES) -> object:
    """Content of a JSON file that lies on this machine.

    Args:
        path: the file.
        limit: bytes that it may have.
        values: how many values it may hold, by which it grows in memory.

    Raises:
        UnsafeFileError: as :func:`read_text`, more values, or nested deeper than Python follows.
        json.JSONDecodeError: no whole JSON.
    """
    text = read_text(path, limit)
    if sum(map(text.count, ',[{')) > values:
        raise UnsafeFileError(f'{path} holds more than {values:,} values, too many for a list.')
    try:
        return json.loads(text)
    except RecursionError:
        raise UnsafeFileError(f'{path} is nested too deep for a list of images.') from None
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise UnsafeFileError(f'{path} holds a number of no list ({error}).') from error
