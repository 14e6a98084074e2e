"""Of several processes that fail, one says why: the one that failed first."""

import os
import time
import traceback
from pathlib import Path

from torch import distributed as dist

from .distributed import global_rank

__all__ = ['FOLDER_VARIABLE', 'lost_connections', 'may_speak']

# Where the processes of one launcher (cosub_mm.launch.torchrun) agree on who speaks.
FOLDER_VARIABLE = 'COSUB_ERRORS_FOLDER'
# Launchers without such a folder end all processes when one has failed: others wait their turn.
TURN_SECONDS, NEXT_SECONDS, LOST_SECONDS = 5.0, 0.5, 20.0


def may_speak(error: BaseException) -> bool:
    """Whether this process is the one to print its error; the others end without a word.

    A process that has lost its connection knows no cause: it leaves the word to the one that has
    failed, and to the launcher, which gets its traceback.
    """
    if int(os.environ.get('WORLD_SIZE', 1)) == 1:
        return True
    lost = _is_lost_connection(error)
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        _wait_for_turn(lost)
        return True
    try:
        if lost:
            text = ''.join(traceback.format_exception(error))
            (Path(folder) / f'lost_{global_rank()}').write_text(text)
            return False
        (Path(folder) / 'spoken').touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:  # the folder's disk is full: rather twice than not at all
        pass
    return True


def lost_connections(folder: str | Path) -> dict[int, str]:
    """Traceback by rank of the processes that have lost their connection to the others."""
    files = sorted(Path(folder).glob('lost_*'))
    return {int(file.name.partition('_')[2]): file.read_text() for file in files}


def _is_lost_connection(error: BaseException) -> bool:
    if isinstance(error, dist.DistError):  # NCCL, the network, the store
        return True
    return isinstance(error, RuntimeError) and ('gloo/' in str(error) or 'by peer' in str(error))


def _wait_for_turn(lost: bool) -> None:
    rank = global_rank()
    if lost:
        time.sleep(LOST_SECONDS)
    elif rank:
        time.sleep(TURN_SECONDS + NEXT_SECONDS * min(rank, 16))
