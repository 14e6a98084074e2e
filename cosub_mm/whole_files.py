"""Writing a file so that it is never seen half written, decided in one place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ['replacing', 'sync_to_disk', 'write_atomically']


@contextmanager
def replacing(path: str | Path, sync: bool = True) -> Iterator[Path]:
    """Write beside ``path`` and take its name when all is written.

    Whoever opens ``path`` finds the old file or the whole new one, whenever the writer is killed;
    after an error the old one stays and the part is removed.

    Args:
        path: the file; its folder must exist.
        sync: wait until the disk has it, so that it also survives a loss of power. Costs a few
            milliseconds; do without for many files that are checked when they are read.

    Yields:
        Where to write: a hidden name in the same folder, the same each time, so that what a killed
        writer has left is written over. One writer of a file at a time.
    """
    path = Path(path)
    part = path.with_name(f'.{path.name}.part')
    try:
        yield part
        if sync:
            sync_to_disk(part)
        os.replace(part, path)
        if sync:
            sync_to_disk(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_atomically(path: str | Path, content: bytes, sync: bool = True) -> None:
    """Write a file whole or not at all, and the folders above it; see :func:`replacing`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, sync) as part:
        part.write_bytes(content)


def sync_to_disk(path: str | Path) -> None:
    """Wait until a file, or the names in a folder, would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
