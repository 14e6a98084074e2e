"""Data-loading workers outlive a signal that asks the training to stop.

torchrun sends SIGTERM to the group of each of its processes, slurm to every process of a job. The
training saves behind its step; but torch lets a worker end at once, and a process whose worker has
ended fails wherever it just is, in the middle of that save too.
"""

import os
import signal
from collections.abc import Callable
from functools import partial
from threading import Thread

from torch.utils.data import DataLoader

__all__ = ['shield_workers']

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


def shield_workers(loader: DataLoader) -> DataLoader:
    """Let the workers of a loader, changed in place, take these signals from their process only.

    That is how the process ends workers which do not end by themselves. A worker whose process is
    gone notices within seconds, as before.

    Args:
        loader: whose workers have not started.
    """
    if loader.num_workers and hasattr(signal, 'sigwaitinfo'):  # not on macOS
        loader.worker_init_fn = partial(_start, loader.worker_init_fn)
    return loader


def _start(then: Callable[[int], None] | None, worker_id: int) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    Thread(target=_end_when_told_by, args=(os.getppid(),), daemon=True).start()
    if then is not None:
        then(worker_id)


def _end_when_told_by(parent: int) -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != parent:
        pass
    os._exit(0)
