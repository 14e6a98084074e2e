"""Of several processes that fail, one says why: the one that failed first."""

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

from torch import distributed as dist

from .distributed import global_rank

__all__ = ['FOLDER_VARIABLE', 'end_silently', 'lost_connections', 'may_speak', 'who_spoke']

# Where the processes of one launcher (cosub_mm.launch.torchrun) agree on who speaks.
FOLDER_VARIABLE = 'COSUB_ERRORS_FOLDER'
SPOKEN = 'spoken'
# Launchers without such a folder end all processes when one has failed: others wait their turn.
TURN_SECONDS, NEXT_SECONDS, LOST_SECONDS = 5.0, 0.5, 20.0


def may_speak(error: BaseException, code: int) -> bool:
    """Whether this process is the one to print its error; the others end without a word.

    A process that has lost its connection knows no cause: it leaves the word to the one that has
    failed, and to the launcher, which gets its traceback.

    Args:
        error: what has ended this process.
        code: the exit code that it gives.
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
        # One that ends sooner lets the launcher send SIGTERM to all, also before this one's word.
        _let_finish()
        with open(Path(folder) / SPOKEN, 'x') as file:
            file.write(f'{global_rank()} {code}')
    except FileExistsError:
        return False
    except OSError:  # the folder's disk is full: rather twice than not at all
        pass
    return True


def end_silently(code: int) -> NoReturn:
    """End a process that may not speak, at once, as the launcher's SIGTERM would soon.

    Python's way out takes gloo's threads apart, which says ``terminate called without an active
    exception`` and aborts where a peer is gone.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def who_spoke(folder: str | Path) -> tuple[int, int] | None:
    """Rank and exit code of the process that has said why; None if none has.

    The code that it ends with may be another: gloo's threads abort a process whose peer is gone.
    """
    file = Path(folder) / SPOKEN
    words = file.read_text().split() if file.exists() else []
    return (int(words[0]), int(words[1])) if len(words) == 2 else None


def lost_connections(folder: str | Path) -> dict[int, str]:
    """Traceback by rank of the processes that have lost their connection to the others."""
    files = sorted(Path(folder).glob('lost_*'))
    return {int(file.name.partition('_')[2]): file.read_text() for file in files}


def _is_lost_connection(error: BaseException) -> bool:
    if isinstance(error, dist.DistError):  # NCCL, the network, the store
        return True
    return isinstance(error, RuntimeError) and ('gloo/' in str(error) or 'by peer' in str(error))


def _let_finish() -> None:
    if threading.current_thread() is threading.main_thread():  # others may set no handler
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _wait_for_turn(lost: bool) -> None:
    rank = global_rank()
    if lost:
        time.sleep(LOST_SECONDS)
    elif rank:
        time.sleep(TURN_SECONDS + NEXT_SECONDS * min(rank, 16))
