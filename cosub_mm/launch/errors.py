"""Errors that the user can mend: one line instead of a traceback, and exit code 2."""

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .distributed import close_process_group, global_rank
from .one_voice import end_silently, may_speak
from .starting import RESUME_EXIT_CODE

__all__ = ['RESUME_EXIT_CODE', 'Interrupted', 'UserError', 'explain', 'run_tool', 'user_errors']

DEBUG_VARIABLE = 'COSUB_DEBUG'
FAULT_EXIT_CODE, USER_EXIT_CODE, CTRL_C_EXIT_CODE = 1, 2, 130


class Interrupted(Exception):
    """A signal has stopped the training; its state is saved."""


class UserError(Exception):
    """Wrong input; the message says what was wrong, what is allowed and what to do."""


# What configs, data checks and model constructors raise for a bad value.
_BAD_INPUT = (ValueError, TypeError, KeyError, AssertionError, AttributeError, OSError)
_BAD_INPUT += (ImportError, SyntaxError)


@contextmanager
def user_errors(doing: str) -> Iterator[None]:
    """Turn the exceptions of a preparatory step into :class:`UserError`.

    Args:
        doing: the step in words, for the message: "building the model".
    """
    try:
        yield
    except _BAD_INPUT as error:
        # Exceptions written for users are ValueErrors and file errors; others may be our faults.
        plain = isinstance(error, ValueError | OSError)
        hint = '' if plain else f' [{type(error).__name__}; {DEBUG_VARIABLE}=1 shows where]'
        raise UserError(f'while {doing}: {explain(error)}{hint}') from error


def explain(error: BaseException) -> str:
    """One readable sentence from an exception, also from one that crossed a worker process."""
    # str() of a KeyError is the repr of its message.
    if isinstance(error, KeyError) and error.args and isinstance(error.args[0], str):
        text = error.args[0]
        if re.fullmatch(r'[\w.-]+', text):
            text = f"the key '{text}' is missing"
    else:
        text = str(error)
    if 'Original Traceback' in text:
        text = _last_message(text)
    return text.strip() or type(error).__name__


def _last_message(text: str) -> str:
    """The message at the end of a traceback that torch pasted into an exception."""
    lines = text.strip().splitlines()
    for start in range(len(lines) - 1, -1, -1):
        match = re.match(r'([A-Za-z_][\w.]*): (.*)', lines[start])
        if match:
            return '\n'.join([match.group(2), *lines[start + 1 :]])
    return text


def _ours(error: BaseException) -> bool:
    """Whether the exception's class was written for the reader (ours), not for the programmer."""
    return isinstance(error, UserError) or type(error).__module__.partition('.')[0] == 'cosub_mm'


def run_tool(main: Callable[[list[str] | None], object], argv: list[str] | None = None) -> int:
    """Run a command-line tool and return its exit code.

    User errors are printed as ``error: ...`` and give 2, an interruption gives 130, a training that
    a signal has stopped and that can be resumed gives 75. Anything else is a fault of ours and
    keeps its traceback. Of several processes the first that fails says so, the others are silent.
    ``COSUB_DEBUG=1`` prints the traceback of user errors as well, and those of all processes.

    Args:
        main: the tool, called with ``argv``; a number that it returns is its exit code, for what is
            no error and not what was hoped for either (1: broken images were found).
        argv: its arguments; ``None`` for those of the command line.
    """
    try:
        code = main(argv)
    except KeyboardInterrupt as error:
        if not may_speak(error, CTRL_C_EXIT_CODE):
            end_silently(CTRL_C_EXIT_CODE)
        print('interrupted', file=sys.stderr)
        return CTRL_C_EXIT_CODE
    except Interrupted as stop:
        if global_rank() == 0:
            print(stop, file=sys.stderr)
        close_process_group()
        return RESUME_EXIT_CODE
    except Exception as error:
        code = USER_EXIT_CODE if _ours(error) else FAULT_EXIT_CODE
        debug = os.environ.get(DEBUG_VARIABLE)
        if not debug and not may_speak(error, code):
            end_silently(code)
        if not _ours(error):
            raise
        if debug:
            traceback.print_exc()
        rank = global_rank()
        print(f'error{f" (process {rank})" if rank else ""}: {explain(error)}', file=sys.stderr)
        return code
    # Not after an error: NCCL would wait for processes that may be gone.
    close_process_group()
    return code if type(code) is int else 0
