"""A signal to a training that has not begun: nothing to save, and the code that says start anew.

Standard library only: it is imported before what takes seconds to import.
"""

import os
import signal
import sys
from types import FrameType

__all__ = ['RESUME_EXIT_CODE', 'stop_while_starting']

# EX_TEMPFAIL of sysexits.h: a temporary failure, try again.
RESUME_EXIT_CODE = 75


def stop_while_starting() -> None:
    """Let SIGTERM and SIGUSR1 end this process with 75 outside of the steps of a training.

    What is open is closed on the way out. In the steps :class:`.interruption.StopSignals` takes
    over. Processes of torchrun are left alone: it ends them by SIGTERM when one of them has failed,
    and gives its own code.
    """
    if 'RANK' in os.environ:
        return
    for number in (signal.SIGTERM, signal.SIGUSR1):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    print(
        f'stopped by {signal.Signals(number).name} outside of the steps of a training; what was '
        f'saved before is as it was. Start it again, with --resume to go on.',
        file=sys.stderr,
        flush=True,
    )
    # No Exception: nobody on the way may take it for a fault of their own.
    raise SystemExit(RESUME_EXIT_CODE)
