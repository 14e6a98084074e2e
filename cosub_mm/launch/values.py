"""Values of a command line that are judged before the work begins: ``type=`` of argparse."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

import torch

from .outputs import check_writable

__all__ = ['at_least', 'device', 'file', 'folder', 'positive']


def at_least(lowest: int) -> Callable[[str], int]:
    """A whole number that is not below ``lowest``."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < lowest:
            raise ArgumentTypeError(f"'{text}' must be a whole number of {lowest} or more.")
        return value

    return convert


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise ArgumentTypeError(f"'{text}' must be a number above 0.")
    return value


def device(text: str) -> str:
    """A device on which this torch can compute."""
    try:
        torch.zeros(1, device=text).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition('\n')[0].rstrip('.')
        raise ArgumentTypeError(f"'{text}' is no device of this machine ({reason}).") from None
    return text


def file(text: str) -> Path:
    """A file that can be written, to be made or not."""
    return _writable(text, is_file=True)


def folder(text: str) -> Path:
    """A folder that can be written into, to be made or not."""
    return _writable(text, is_file=False)


def _writable(text: str, is_file: bool) -> Path:
    try:
        check_writable(text, 'path', is_file)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
    return Path(text)
