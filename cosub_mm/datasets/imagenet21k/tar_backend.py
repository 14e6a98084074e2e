"""Images inside tar shards as files: ``tarshard://SHARD?OFFSET+SIZE``."""

import os
import re
from collections import OrderedDict
from pathlib import Path
from threading import Lock

from mmengine.fileio import BaseStorageBackend, register_backend
from torch.utils.data import get_worker_info

from cosub_mm.safe_files import MAX_IMAGE

__all__ = ['PREFIX', 'TarShardBackend', 'parse_address', 'shard_path']

PREFIX = 'tarshard'
OPEN_SHARDS = 256  # of all processes of a machine together
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
            ValueError: no address of a shard, or a shard that ends before the member does.
        """
        shard, offset, size = parse_address(str(filepath))
        with self._lock:
            data = os.pread(self._open(shard), size, offset)
        if len(data) < size:
            raise ValueError(
                f"The shard '{shard}' is cut short: it ends {size - len(data)} bytes before the "
                f'image at byte {offset} does. Copy or download it again, and prepare it anew.'
            )
        return data

    def get_text(self, filepath: str, encoding: str = 'utf-8') -> str:
        """A member as text."""
        return self.get(filepath).decode(encoding)

    @classmethod
    def _open(cls, shard: str) -> int:
        key = (os.getpid(), shard)
        if key in cls._files:
            cls._files.move_to_end(key)
            return cls._files[key]
        descriptor = os.open(shard, os.O_RDONLY)
        cls._files[key] = descriptor
        while len(cls._files) > _share():
            (owner, _), old = cls._files.popitem(last=False)
            if owner == os.getpid():
                os.close(old)
        return descriptor


def _share() -> int:
    """How many shards this process may keep open, of those that it and its like may together."""
    worker = get_worker_info()
    processes = int(os.environ.get('LOCAL_WORLD_SIZE', 1))
    return max(1, OPEN_SHARDS // (processes * (worker.num_workers if worker else 1)))
