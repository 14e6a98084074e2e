"""torchrun that ends with one sentence and the exit code of the tool it runs: ``python -m``."""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from torch.distributed import DistError, run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from .distributed import check_gpus
from .errors import (
    CTRL_C_EXIT_CODE,
    DEBUG_VARIABLE,
    FAULT_EXIT_CODE,
    RESUME_EXIT_CODE,
    USER_EXIT_CODE,
)
from .interruption import SIGNALS, STOPPED_VARIABLE
from .one_voice import FOLDER_VARIABLE, lost_connections, who_spoke
from .rendezvous import explain_network_error

__all__ = ['main']

# What a signal that nobody sent on purpose usually means.
MEANING = {
    signal.SIGKILL: 'as the kernel does when memory runs out (dmesg, or the limit of the job)',
    signal.SIGBUS: 'as happens when shared memory (/dev/shm) is full: fewer num_workers',
    signal.SIGSEGV: 'a crash in compiled code: PYTHONFAULTHANDLER=1 shows where',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run torchrun's command line.

    Returns:
        0; 75 if a signal has stopped it and it can be resumed; 2 if the processes ended by an error
        of the user, or could not find each other; 130 for Ctrl-C; else 1. Why is said in
        one sentence, by the process that failed or else here.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    args = run.parse_args(argv)
    try:
        check_gpus(int(args.nproc_per_node))
    except ValueError as error:
        return _say(str(error), USER_EXIT_CODE)
    with TemporaryDirectory() as folder, _quiet_agent():
        stopped = Path(folder) / 'stopped'
        os.environ[STOPPED_VARIABLE], os.environ[FOLDER_VARIABLE] = str(stopped), folder
        if os.environ.get('TORCH_CPP_LOG_LEVEL') == 'FATAL':  # read already: this is the processes'
            os.environ['TORCH_CPP_LOG_LEVEL'] = 'ERROR'
        try:
            # Its default is a folder in /tmp that stays there.
            logs = [] if args.log_dir else [f'--log-dir={folder}/logs']
            run.main([*_signals(), *logs, *argv])
        except SignalException as stop:
            spoken = who_spoke(folder)
            if spoken and not stopped.exists():  # it has failed, or been interrupted, and said so
                return _answer(*spoken)
            # Asked to stop, at whatever moment: the newest checkpoint is there to go on from.
            if stopped.exists() or stop.sigval in SIGNALS:
                return RESUME_EXIT_CODE
            print('interrupted', file=sys.stderr)
            return 128 + stop.sigval
        except ChildFailedError as error:
            if stopped.exists():
                return RESUME_EXIT_CODE
            return _report(error, Path(folder))
        except DistError as error:
            sentence = explain_network_error(error, args)
            if sentence is None:
                raise
            return _say(sentence, USER_EXIT_CODE)
    return 0


def _signals() -> list[str]:
    """Let torchrun hand on slurm's warning too; versions that cannot are left as they are."""
    known = '--signals-to-handle' in run.get_args_parser().format_help()
    names = 'SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1'
    return [f'--signals-to-handle={names}'] if known else []


@contextmanager
def _quiet_agent() -> Iterator[None]:
    """Leave out which processes torchrun ends, and in which order: 12 lines for 8 of them."""
    logger = logging.getLogger('torch.distributed.elastic.multiprocessing.api')
    level = logger.level
    if not os.environ.get(DEBUG_VARIABLE):
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _report(error: ChildFailedError, folder: Path) -> int:
    """Say which process ended the run, unless it has said so itself; return the exit code."""
    spoken = who_spoke(folder)
    if spoken:
        return _answer(*spoken)
    lost = lost_connections(folder)
    rank, failure = _first(error.failures, lost)
    if rank in lost:
        print(lost[rank], file=sys.stderr)
        return _say(
            f'process {rank} lost its connection to the others, and none on this machine has '
            f'failed by itself: look at what the other machines printed.'
        )
    if failure.exitcode < 0:
        name = failure.signal_name()
        meaning = MEANING.get(-failure.exitcode)
        return _say(
            f'process {rank} was killed by {name}{f", {meaning}" if meaning else ""}; the others '
            f'were ended.'
        )
    return _say(f'process {rank} failed with exit code {failure.exitcode}; the others were ended.')


def _answer(rank: int, code: int) -> int:
    """The exit code where a process has said why."""
    if code in (USER_EXIT_CODE, CTRL_C_EXIT_CODE):
        return code
    return _say(f'process {rank} failed, as it says above; the others were ended.')


def _first(failures: dict[int, ProcessFailure], lost: dict[int, str]) -> tuple[int, ProcessFailure]:
    """The failure that the others follow from: neither a lost connection nor torchrun's SIGTERM."""
    own = [
        (rank, failure)
        for rank, failure in failures.items()
        if rank not in lost and failure.exitcode != -signal.SIGTERM
    ]
    own.sort(key=lambda item: item[1].exitcode == -signal.SIGABRT)  # gloo's, for a lost peer
    return (own or list(failures.items()))[0]


def _say(sentence: str, code: int = FAULT_EXIT_CODE) -> int:
    print(f'error: {sentence}', file=sys.stderr)
    return code


if __name__ == '__main__':
    sys.exit(main())
