"""Archives and binary files of strangers: read in bounded memory, or refused by name."""

import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from .files import MAX_IMAGE, UnsafeFileError, open_regular, read_bytes

__all__ = ['SafeTarInfo', 'mat_problem', 'open_zip', 'pickle_problem', 'read_member']

MAX_DIRECTORY = 12 * 2**20
"""Bytes of the list of members of a zip archive; the 44,000 of ADE20k need half of them."""
MAX_HEADER = 2**20
"""Bytes of the extended header of a member of a tar archive: a long name, or pax records."""
MAX_MAT = 64 * 2**20
"""Bytes to which a .mat file of labels may unpack; those of Table 14 have less than one MB."""

_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
# What the pickles of CIFAR are made of besides plain values.
_ARRAYS = {
    'numpy.core.multiarray _reconstruct',
    'numpy._core.multiarray _reconstruct',
    'numpy ndarray',
    'numpy dtype',
    '_codecs encode',
}


class SafeTarInfo(tarfile.TarInfo):
    """``tarfile.open(..., tarinfo=SafeTarInfo)``: headers that fill the memory are refused.

    tarfile reads an extended header of any size at once, and goes in a circle where a size is below
    zero.
    """

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> 'SafeTarInfo':
        """A header from its 512 bytes.

        Raises:
            UnsafeFileError: an extended header of more than 1 MiB, or a size below zero.
        """
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0:
            raise UnsafeFileError(f'{ascii(info.name)[:100]} has a size below zero')
        if info.type in _EXTENDED and info.size > MAX_HEADER:
            raise UnsafeFileError(
                f'a header of {info.size:,} bytes; a name has at most {MAX_HEADER:,}'
            )
        return info


class _Bounded:
    """A file that reads at most ``limit`` bytes at once."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.file, self.limit = file, limit
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        if size > self.limit:
            raise UnsafeFileError(
                f'its list of members has {size:,} bytes; that of a data set has at most '
                f'{self.limit:,}'
            )
        return self.file.read(size)


@contextmanager
def open_zip(path: str | Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive of this machine, open to read.

    Raises:
        UnsafeFileError: no regular file, a list of members of more than 12 MiB, or a name in it
            that cannot be decoded.
        zipfile.BadZipFile: it is damaged.
    """
    with open_regular(path) as file:
        bounded = _Bounded(file, MAX_DIRECTORY)
        try:
            archive = zipfile.ZipFile(bounded)
        except UnsafeFileError as error:
            raise UnsafeFileError(f'{path}: {error}') from error
        except UnicodeDecodeError as error:
            raise UnsafeFileError(f'{path}: a name in it is not UTF-8 ({error.reason})') from error
        except (struct.error, ValueError, NotImplementedError, OSError) as error:
            raise zipfile.BadZipFile(str(error)) from error
        with archive:
            yield archive


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int = MAX_IMAGE) -> bytes:
    """Bytes of a member of a zip archive.

    Raises:
        UnsafeFileError: it unpacks to more than ``limit`` bytes, is encrypted, or is neither stored
            nor deflated.
        zipfile.BadZipFile: it is damaged, or is not what the list of members says.
    """
    name = ascii(info.filename)[:100]
    if info.file_size > limit:
        raise UnsafeFileError(
            f'{name} unpacks to {info.file_size:,} bytes; such a file has at most {limit:,}'
        )
    if info.flag_bits & 1:
        raise UnsafeFileError(f'{name} is encrypted')
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # Besides, Python unpacks other kinds without a bound.
        raise UnsafeFileError(f'{name} is compressed in an unknown way ({info.compress_type})')
    try:
        # In pieces: what is read at once may unpack to more than the list of members says.
        with archive.open(info) as file:
            return b''.join(iter(partial(file.read, 2**20), b''))
    except (NotImplementedError, RuntimeError) as error:
        raise UnsafeFileError(f'{name} cannot be unpacked ({error})') from error


def mat_problem(path: str | Path, limit: int = MAX_MAT) -> str:
    """Why a .mat file is not read, or an empty string.

    Its elements are compressed by zlib, which packs a thousand to one: they are unpacked here piece
    by piece and counted.
    """
    try:
        content = memoryview(read_bytes(path, limit))
    except UnsafeFileError as error:
        return str(error)
    place, total = 128, 0  # behind the header
    if len(content) <= place:
        return f'{path} is no whole .mat file. Unpack it again.'
    order = '>' if bytes(content[126:128]) == b'MI' else '<'
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f'{order}II', content, place)
        element, place = content[place + 8 : place + 8 + size], place + 8 + size
        total += size
        if kind != 15:  # miCOMPRESSED
            continue
        unpacker, rest = zlib.decompressobj(), bytes(element)
        while rest and total <= limit:
            try:
                total += len(unpacker.decompress(rest, 2**20))
            except zlib.error as error:
                return f'{path} is damaged ({error}).'
            rest = unpacker.unconsumed_tail
    if total > limit:
        return f'{path} unpacks to more than {limit:,} bytes, too many for a list of labels.'
    return ''


def pickle_problem(path: str | Path, limit: int = MAX_IMAGE) -> str:
    """Why a pickle of arrays is not loaded, or an empty string: it may run any code.

    Args:
        path: the file.
        limit: bytes that it may have.
    """
    try:
        _Arrays(BytesIO(read_bytes(path, limit)), encoding='latin1').load()
    except UnsafeFileError as error:
        return str(error)
    except _NoArray as error:
        return (
            f'{path} holds more than arrays ({ascii(str(error))[1:-1][:100]}): loading it would '
            f'run code of whoever made it. Download it from its authors.'
        )
    except Exception as error:  # a broken pickle leads to anything
        return f'{path} is no whole pickle ({type(error).__name__}). Unpack it again.'
    return ''


class _NoArray(Exception):
    pass


class _Arrays(pickle.Unpickler):
    """Makes plain values and arrays, and calls nothing else."""

    def find_class(self, module: str, name: str) -> object:
        if f'{module} {name}' not in _ARRAYS:
            raise _NoArray(f'{module}.{name}')
        return super().find_class(module, name)
