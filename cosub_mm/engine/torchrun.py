"""torchrun, ending with the code of a training that a signal has stopped: ``python -m``."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from .errors import RESUME_EXIT_CODE
from .interruption import SIGNALS, STOPPED_VARIABLE

__all__ = ['main']


def _signals() -> list[str]:
    """Let torchrun hand on slurm's warning too; versions that cannot are left as they are."""
    known = '--signals-to-handle' in run.get_args_parser().format_help()
    names = 'SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1'
    return [f'--signals-to-handle={names}'] if known else []


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun's command line; 75 if a signal has stopped it, 130 for Ctrl-C."""
    with TemporaryDirectory() as folder:
        stopped = Path(folder) / 'stopped'
        os.environ[STOPPED_VARIABLE] = str(stopped)
        try:
            run.main([*_signals(), *(sys.argv[1:] if argv is None else argv)])
        except SignalException as stop:
            # Asked to stop, at whatever moment: the newest checkpoint is there to go on from.
            if stopped.exists() or stop.sigval in SIGNALS:
                return RESUME_EXIT_CODE
            print('interrupted', file=sys.stderr)
            return 128 + stop.sigval
        except ChildFailedError:
            if stopped.exists():
                return RESUME_EXIT_CODE
            raise
    return 0


if __name__ == '__main__':
    sys.exit(main())
