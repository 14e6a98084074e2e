"""What a person watching a run is shown; the log file gets everything."""

import logging
import os
from pathlib import Path

__all__ = ['VERBOSE_VARIABLE', 'quieten']

VERBOSE_VARIABLE = 'COSUB_VERBOSE'

# How messages of mmengine begin that fill screens and that nobody reads while a run starts.
_FOR_THE_FILE = (
    'System environment:',
    'Config:\n',
    'Hooks will be executed in the following order:',
    'paramwise_options -- ',
    'Exp name: ',
    'Distributed training is not used, all SyncBatchNorm',
    # Of mmengine, about names that mmengine itself uses.
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


class _ShortConsole(logging.Filter):
    """Let a handler pass over what only the log file needs."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.WARNING:
            return True
        # Not formatted: a filter that fails would end the run, a handler's failure does not.
        return not str(record.msg).lstrip('-\n').startswith(_FOR_THE_FILE)


def quieten(logger: logging.Logger) -> None:
    """Keep config, environment, hooks and settings of single parameters off the console.

    They are in the log file, whose name is said. ``COSUB_VERBOSE=1`` shows them.

    Args:
        logger: of a Runner; its handlers that write to files are left alone.
    """
    if os.environ.get(VERBOSE_VARIABLE):
        return
    files = [h.baseFilename for h in logger.handlers if isinstance(h, logging.FileHandler)]
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler) or not files:
            continue
        if not any(isinstance(known, _ShortConsole) for known in handler.filters):
            handler.addFilter(_ShortConsole())
    if files:
        logger.info(
            f'config, environment and hooks are in the log {_short(files[0])} '
            f'({VERBOSE_VARIABLE}=1 prints them)'
        )


def _short(path: str) -> str:
    try:
        return str(Path(path).relative_to(Path.cwd()))
    except ValueError:
        return path
