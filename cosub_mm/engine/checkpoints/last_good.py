"""The checkpoint to go on from: the newest whole one of a run."""

from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process

from .files import CheckpointError, checkpoints_of, load_checkpoint
from .integrity import DamagedCheckpoint, verify_checksums

__all__ = ['last_good_checkpoint']


def last_good_checkpoint(work_dir: str) -> str | None:
    """The newest checkpoint of a work dir that is whole, or None when there is none at all.

    A newer one that was cut, emptied, overwritten with zeros or changed by a bit is renamed to
    ``NAME.broken``, which is said: nothing is deleted, and nothing takes it for a checkpoint again.
    The first process looks, and all take what it finds.

    Raises:
        CheckpointError: there are checkpoints, and none is whole.
        OSError: a file cannot be read at all, e.g. because a disk is gone; nothing is renamed.
    """
    found = [None, None]
    if is_main_process():
        try:
            found[0] = _search(work_dir)
        except Exception as error:  # the others wait for an answer
            found[1] = error
    broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return found[0]


def _search(work_dir: str) -> str | None:
    broken = []
    for path in checkpoints_of(work_dir):
        reason = _damage(path)
        if reason is None:
            return str(path)
        aside = _put_aside(path)
        broken.append(aside.name)
        print(f'{reason} It is kept as {aside}; the next older one is taken.', flush=True)
    if broken:
        raise CheckpointError(
            f"none of the checkpoints in '{work_dir}' is whole; they are kept as "
            f'{", ".join(broken)}. Start anew without --resume.'
        )
    return None


def _damage(path: Path) -> str | None:
    """What is wrong with the contents of a file; None if nothing is."""
    try:
        verify_checksums(path)
        load_checkpoint(str(path), peek=True)
    except DamagedCheckpoint as error:
        return str(error)
    except CheckpointError as error:
        if isinstance(error.__cause__, OSError | MemoryError):
            raise error.__cause__ from error
        return str(error)
    return None


def _put_aside(path: Path) -> Path:
    names = [path.with_name(f'{path.name}.broken{number}') for number in ('', *range(2, 100))]
    return path.rename(next(name for name in names if not name.exists()))
