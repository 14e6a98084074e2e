"""Differences between a checkpoint and its use that stop a run unless they are accepted by name."""

import logging
from argparse import ArgumentParser, Namespace
from collections.abc import Collection

from mmengine.config import Config
from mmengine.logging import print_log

from .files import CheckpointError

__all__ = ['ACCEPTABLE', 'NotAccepted', 'accepted', 'add_accept_argument', 'stop_unless']

ACCEPTABLE = {
    'partial-weights': 'the backbone starts from weights that lack tensors or have others',
    'other-classes': 'the classes of the checkpoint have other names or another order',
    'other-model': 'the model computes otherwise than the one that was trained',
}


class NotAccepted(CheckpointError):
    """A difference that changes the meaning of a run, and that nobody accepted."""


def add_accept_argument(parser: ArgumentParser) -> None:
    """Add ``--accept``."""
    meanings = '; '.join(f'{name}: {meaning}' for name, meaning in ACCEPTABLE.items())
    parser.add_argument(
        '--accept',
        nargs='+',
        choices=ACCEPTABLE,
        default=[],
        metavar='DIFFERENCE',
        help=f'go on although ({meanings}); also a list `accept` in the config',
    )


def accepted(cfg: Config, args: Namespace | None = None) -> set[str]:
    """What the command line and ``cfg.accept`` accept.

    Raises:
        ValueError: a name that stands for no difference.
    """
    names = cfg.get('accept') or []
    names = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in names if name not in ACCEPTABLE]
    if unknown:
        raise ValueError(f'accept={names} in the config: choose from {", ".join(ACCEPTABLE)}.')
    return {*names, *(args.accept if args else [])}


def stop_unless(name: str, accept: Collection[str], message: str) -> None:
    """Stop with ``message``, or say it as a warning where the difference is accepted.

    Raises:
        NotAccepted: ``name`` is not in ``accept``.
    """
    if name not in accept:
        raise NotAccepted(f'{message} To go on all the same: --accept {name}.')
    print_log(f'ACCEPTED ({name}): {message}', logger='current', level=logging.WARNING)
