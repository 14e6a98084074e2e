"""Images inside tar shards as files: ``tarshard://SHARD?OFFSET+SIZE``."""

import os
import re
import tarfile
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from mmengine.fileio import BaseStorageBackend, register_backend
from torch.utils.data import get_worker_info

from cosub_mm.safe_files import MAX_IMAGE, open_regular

__all__ = ['PREFIX', 'TarShardBackend', 'parse_address', 'shard_path']

PREFIX = 'tarshard'
OPEN_SHARDS = 256  # of all processes of a machine together
BLOCK = tarfile.BLOCKSIZE
_ADDRESS = re.compile(
    rf'(?s:(?:{PREFIX}://)?(?P<shard>.+)\?(?P<offset>[0-9]{{1,18}})\+(?P<size>[0-9]{{1,18}}))'
)


def shard_path(shard: str | Path, offset: int, size: int) -> str:
    """Address of ``size`` bytes that start at ``offset`` of a shard."""
    return f'{PREFIX}://{shard}?{offset}+{size}'


def parse_address(address: str) -> tuple[str, int, int]:
    """Shard, offset and size of an address of :func:`shard_path`.

    Raises:
        ValueError: it is none.
    """
    found = _ADDRESS.fullmatch(address)
    if not found or int(found['size']) > MAX_IMAGE:
        raise ValueError(
            f"'{address}' is not of the form {PREFIX}://SHARD?OFFSET+SIZE with at most "
            f'{MAX_IMAGE:,} bytes.'
        )
    return found['shard'], int(found['offset']), int(found['size'])


@register_backend('tarshard', prefixes=PREFIX)
class TarShardBackend(BaseStorageBackend):
    """Reads a member of an uncompressed tar file by its position, without unpacking.

    Any loader that reads through mmengine's file backends, such as mmcv's ``LoadImageFromFile``,
    takes the addresses of :func:`shard_path` as file names.
    """

    # One table a process: a forked worker must not share file positions, hence pread.
    _files: OrderedDict[tuple[int, str], int] = OrderedDict()
    _lock = Lock()

    def get(self, filepath: str) -> bytes:
        """Bytes of a member.

        Raises:
            FileNotFoundError: the shard does not exist.
            UnsafeFileError: the shard is no regular file.
            ValueError: no address of a shard, a shard that ends before the member does, or one that
                has no member of this size there: it was replaced or overwritten.
        """
        shard, offset, size = parse_address(str(filepath))
        start = max(0, offset - BLOCK)
        with self._lock:
            data = os.pread(self._open(shard), offset + size - start, start)
        lacking = offset + size - start - len(data)
        if lacking > 0:
            raise ValueError(
                f"The shard '{shard}' is cut short: it ends {lacking} bytes before the image at "
                f'byte {offset} does. Copy or download it again, and prepare it anew.'
            )
        if _member_size(data[: offset - start]) != size:
            raise ValueError(
                f"The shard '{shard}' has no image of {size} bytes at byte {offset}: it is not the "
                f'one that was prepared, or was overwritten since. Prepare it anew '
                f'(tools/dataset_converters/prepare_imagenet21k.py), or copy it again.'
            )
        return data[offset - start :]

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """A member as text."""
        return self.get(filepath).decode(encoding)

    @classmethod
    def _open(cls, shard: str) -> int:
        key = (os.getpid(), shard)
        if key in cls._files:
            cls._files.move_to_end(key)
            return cls._files[key]
        with open_regular(shard) as file:
            descriptor = os.dup(file.fileno())
        cls._files[key] = descriptor
        while len(cls._files) > _share():
            (owner, _), old = cls._files.popitem(last=False)
            if owner == os.getpid():
                os.close(old)
        return descriptor


def _member_size(head: bytes) -> int | None:
    """Size of the member behind a header block of a tar file; None if it is none.

    Half of tarfile's work on a header is decoding names, which nobody asks for here.
    """
    if len(head) != BLOCK:
        return None
    try:
        noted = int(head[148:156].rstrip(b'\0 ') or b'-1', 8)
        size = int(head[124:136].rstrip(b'\0 ') or b'0', 8)
    except ValueError:
        return None
    # The sum of the block's bytes, with spaces in the place of the sum.
    return size if noted == sum(head) - sum(head[148:156]) + 8 * 32 else None


def _share() -> int:
    """How many shards this process may keep open, of those that it and its like may together."""
    worker = get_worker_info()
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max(1, OPEN_SHARDS // (processes * (worker.num_workers if worker else 1)))
