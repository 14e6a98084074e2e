"""What a look at a file's entry tells before each read: it can be read, and it is what it was.

One call of ``stat`` a file, some 2 microseconds on a disk of this machine beside milliseconds of
decoding.
"""

import os
import stat
from hashlib import blake2b

from cosub_mm.safe_files import MAX_IMAGE, UnsafeFileError, shown

from .imagenet21k.tar_backend import PREFIX, parse_address

__all__ = ['check_readable', 'state_of']


def check_readable(*paths: str | None) -> None:
    """Refuse what a loader would wait for, or read, for ever.

    Args:
        *paths: of files; None, other addresses and what does not exist are left to the loader.

    Raises:
        UnsafeFileError: a pipe, a device, a socket or a folder, or more than 256 MiB.
    """
    for path in paths:
        if not path or '://' in path:
            continue
        try:
            entry = os.stat(path)
        except OSError:
            continue
        if not stat.S_ISREG(entry.st_mode):
            raise UnsafeFileError(f'{shown(path)} is no regular file, so it is not read.')
        if entry.st_size > MAX_IMAGE:
            raise UnsafeFileError(
                f'{shown(path)} has {entry.st_size:,} bytes; a picture or mask has '
                f'at most {MAX_IMAGE:,}.'
            )


def state_of(*paths: str | None) -> int:
    """A number that changes when one of the files is written, replaced or renamed.

    Size, time of the content and of the entry, and number of the inode: a file that another one has
    replaced with the old size and time, as a copy that keeps times does, is another one still.

    Args:
        *paths: of files; of an image in a shard the shard counts, other addresses do not.

    Returns:
        A positive number below 2**63.
    """
    states = []
    for path in paths:
        if path and path.startswith(f'{PREFIX}://'):
            path = parse_address(path)[0]
        try:
            entry = os.stat(path) if path and '://' not in path else None
        except OSError:
            entry = None
        states += [
            (entry.st_size, entry.st_mtime_ns, entry.st_ctime_ns, entry.st_ino) if entry else None
        ]
    digest = blake2b(repr(states).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, 'big') >> 1) or 1
