"""Read checkpoint files, and find the newest one of a run."""

import os
from pathlib import Path

from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from .integrity import DamagedCheckpoint, verify_checksums
from .trust import UntrustedCheckpoint, load_file

__all__ = [
    'CheckpointError',
    'CheckpointMissing',
    'checkpoints_of',
    'latest_checkpoint',
    'load_checkpoint',
    'state_dict_of',
]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not belong to the model."""


class CheckpointMissing(FileNotFoundError):
    """There is no file under the name of the checkpoint."""


def load_checkpoint(path: str, peek: bool = False, verify: bool = False) -> dict:
    """Load a checkpoint to the CPU, as data (see :mod:`.trust`).

    Args:
        path: a local file, or an address that mmengine can load (``https://``, ``torchvision://``).
        peek: leave the tensors in the file until they are read, for a look at names and shapes.
        verify: compare a local file with its checksums first.

    Raises:
        CheckpointMissing: no such file; the message lists the checkpoints beside it.
        UntrustedCheckpoint: it would run code.
        DamagedCheckpoint: it is not what was written.
        CheckpointError: truncated, or not a checkpoint.
    """
    path = os.fspath(path)
    if '://' not in path and not Path(path).expanduser().is_file():
        raise CheckpointMissing(f"checkpoint '{path}' does not exist. {_beside(Path(path))}")
    try:
        # One process on a machine reads for all; the rest would read the same bytes.
        if verify and '://' not in path and os.environ.get('LOCAL_RANK', '0') == '0':
            verify_checksums(path)
        if '://' in path:
            checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        else:
            checkpoint = load_file(path, map_location='cpu', mmap=peek)
    except (UntrustedCheckpoint, DamagedCheckpoint):
        raise
    except Exception as error:
        detail = next(iter(str(error).splitlines()), 'no detail')
        raise CheckpointError(
            f"checkpoint '{path}' cannot be read: it is truncated or no PyTorch checkpoint "
            f'({type(error).__name__}: {detail}). Copy or download it again.'
        ) from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f"checkpoint '{path}' holds a {type(checkpoint).__name__}, not a dict of weights; save "
            'model.state_dict() instead of the model.'
        )
    return checkpoint


def _beside(path: Path) -> str:
    folder = path.expanduser().parent
    if not folder.is_dir():
        return f"There is no folder '{folder}' either."
    names = sorted(file.name for file in folder.glob('*.pth'))
    return f"'{folder}' holds {', '.join(names[:8]) if names else 'no checkpoint'}."


def state_dict_of(checkpoint: dict) -> dict[str, Tensor]:
    """The weights of a checkpoint, where mmengine looks for them."""
    return checkpoint.get('state_dict', checkpoint)


def latest_checkpoint(work_dir: str) -> str | None:
    """The newest resumable checkpoint of a work dir, or ``None`` when it has none."""
    newest = next(iter(checkpoints_of(work_dir)), None)
    return None if newest is None else str(newest)


def checkpoints_of(work_dir: str) -> list[Path]:
    """The resumable checkpoints of a work dir, the newest first.

    mmengine's ``last_checkpoint`` comes first. It holds an absolute path, so after a move, or when
    the file was cut by a crash, the file with the highest epoch or iteration counts; so it does
    when it is younger than ``last_checkpoint``, as a kill between the two leaves them.
    """
    folder = Path(work_dir)
    numbered = [
        (int(file.stem.split('_')[1]), file)
        for kind in ('epoch', 'iter')
        for file in folder.glob(f'{kind}_*.pth')
        if file.stem.split('_')[1].isdigit()
    ]
    files = [file for _, file in sorted(numbered, reverse=True)]
    pointer = folder / 'last_checkpoint'
    if pointer.is_file():
        named = folder / Path(pointer.read_text(errors='replace').strip('\0 \n')).name
        if named.is_file():
            told = pointer.stat().st_mtime_ns
            newer = [file for file in files if file != named and file.stat().st_mtime_ns > told]
            files = list(dict.fromkeys([*newer, named, *files]))
    return files
