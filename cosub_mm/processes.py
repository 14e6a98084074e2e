"""Processes that end with the one that started them."""

import ctypes
import os
import signal
import sys

__all__ = ['end_with_make', 'end_with_parent']

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Looked up here: between fork and exec nothing may be loaded.
_prctl = ctypes.CDLL(None).prctl if sys.platform == 'linux' else None


def end_with_parent() -> None:
    """Let the kernel end this process when the one that started it is gone (Linux).

    torchrun killed at once leaves its processes training on, while a new job already reads and
    writes the same checkpoints. Data-loading workers watch their own parent.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_make() -> None:
    """Let this process end with ``make``, where that has started it.

    The Makefile says so by a variable; a command typed at a terminal may go on when that closes.
    """
    if os.environ.get('COSUB_END_WITH_PARENT'):
        end_with_parent()
