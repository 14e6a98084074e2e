"""Load checkpoints as data: a file that somebody else made never runs code.

A pickle is a program, and ``torch.load(weights_only=False)`` runs it. mmengine falls back to that
with a warning, and its downloads begin with it. Here ``weights_only=True`` is the rule for every
scheme of mmengine's ``CheckpointLoader``, hence for ``load_from``, ``init_cfg``, ``--resume``,
Inferencers and all tools. The few classes that mmengine's own checkpoints hold are allowed by name.
"""

import argparse
import functools
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pickle import UnpicklingError

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mm
from mmengine.runner.checkpoint import CheckpointLoader

from .recorded import runs_code

__all__ = ['UntrustedCheckpoint', 'add_trust_argument', 'load_file', 'register_loaders', 'trusting']

TRUST_VARIABLE = 'COSUB_TRUST_CHECKPOINT'
_FORCE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_STATISTICS = ('min', 'max', 'mean', 'current')
_REFUSED = ('Unsupported global', 'Can only ', 'unrecognized function', 'is blocked')
_trusted = False


class UntrustedCheckpoint(ValueError):
    """A file that holds more than data, so that loading it would run code of whoever made it."""


def _statistic(owner: type, name: str) -> Callable:
    """What a pickled HistoryBuffer needs of ``getattr``.

    mmengine allows ``getattr`` itself, by which a file could rewrite the globals of a module.
    """
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise UnpicklingError(f'Unsupported global: GLOBAL getattr({owner!r}, {name!r})')
    return getattr(owner, name)


def _allowed() -> list:
    """Classes that hold data only: of mmengine's message hub, and the arguments in DeiT's files."""
    arrays = np._core.multiarray if hasattr(np, '_core') else np.core.multiarray
    functions = [
        # Numpy 1 and 2 write different names.
        (getattr(arrays, name), f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for name in ('_reconstruct', 'scalar')
    ]
    kinds = {type(np.dtype(letter)) for letter in 'bBhHiIlLqQefdg?US'}
    getter = (_statistic, 'builtins.getattr')
    plain = [np.ndarray, np.dtype, HistoryBuffer, ConfigDict, slice, argparse.Namespace]
    return [*functions, *kinds, *plain, getter]


def load_file(path: str, map_location: object = None, mmap: bool = False) -> object:
    """``torch.load`` of a local file as data.

    Args:
        path: the file.
        map_location: torch's.
        mmap: leave the tensors in the file until they are read; for a look at names and shapes.

    Raises:
        FileNotFoundError: no such file.
        UntrustedCheckpoint: it holds anything but tensors, plain values and the allowed classes.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'{path} can not be found.')
    mmap = mmap and zipfile.is_zipfile(path)
    if _is_trusted():
        print(f'{path}: trusted, its code may run', flush=True)
        return torch.load(path, map_location=map_location, weights_only=False, mmap=mmap)
    with _as_data(path):
        loaded = torch.load(path, map_location=map_location, weights_only=True, mmap=mmap)
        return _checked(loaded, path)


def register_loaders() -> None:
    """Put :func:`load_file` in the place of mmengine's loader, and guard those of its schemes."""

    @functools.wraps(mm.load_from_local)
    def load_from_local(filename: str, map_location: object = None) -> object:
        return load_file(filename, map_location)

    CheckpointLoader.register_scheme('', load_from_local, force=True)
    for prefixes, loader in (
        (('http://', 'https://'), mm.load_from_http),
        (('modelzoo://', 'torchvision://'), mm.load_from_torchvision),
        (('open-mmlab://', 'openmmlab://'), mm.load_from_openmmlab),
        (('mmcls://',), mm.load_from_mmcls),
        ((r'(\S+\:)?s3://', r'(\S+\:)?petrel://'), mm.load_from_ceph),
        (('pavi://',), mm.load_from_pavi),
    ):
        CheckpointLoader.register_scheme(prefixes, _guarded(loader), force=True)


@contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Load checkpoints with their code while this lasts (``--trust-checkpoint``)."""
    global _trusted
    before, _trusted = _trusted, trust
    try:
        yield
    finally:
        _trusted = before


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--trust-checkpoint`` to a tool."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='run the code that a checkpoint may hold; only for files whose maker you trust (in '
        f'other programs: {TRUST_VARIABLE}=1)',
    )


def _is_trusted() -> bool:
    return _trusted or os.environ.get(TRUST_VARIABLE, '0') == '1'


def _guarded(loader: Callable) -> Callable:
    """A loader of mmengine under torch's own switch, which nothing below can turn off."""

    @functools.wraps(loader)
    def load(filename: str, map_location: object = None) -> object:
        if _is_trusted():
            return loader(filename, map_location=map_location)
        before = os.environ.get(_FORCE)
        os.environ[_FORCE] = '1'
        try:
            with _as_data(filename):
                return _checked(loader(filename, map_location=map_location), filename)
        finally:
            if before is None:
                del os.environ[_FORCE]
            else:
                os.environ[_FORCE] = before

    return load


@contextmanager
def _as_data(path: str) -> Iterator[None]:
    with torch.serialization.safe_globals(_allowed()):
        try:
            yield
        except UnpicklingError as error:
            if not any(words in str(error) for words in _REFUSED):
                raise
            raise _refusal(path, _names(path, str(error))) from error
        except RuntimeError as error:
            if 'TorchScript' not in str(error):
                raise
            raise _refusal(path, 'a TorchScript program') from error


def _checked(loaded: object, path: str) -> object:
    """Refuse a recorded config that is a program: mmengine runs the text."""
    for place, text in _recorded_texts(loaded):
        if runs_code(text):
            raise _refusal(path, f'a program in the place of the recorded config ({place})')
    return loaded


def _recorded_texts(loaded: object) -> Iterator[tuple[str, str]]:
    if not isinstance(loaded, dict):
        return
    meta, hub = loaded.get('meta'), loaded.get('message_hub')
    runtime = hub.get('runtime_info') if isinstance(hub, dict) else None
    for place, holder, key in (
        ('meta.cfg', meta, 'cfg'),
        ('meta.config', meta, 'config'),
        ('message_hub.runtime_info.cfg', runtime, 'cfg'),
    ):
        if isinstance(holder, dict) and isinstance(holder.get(key), str):
            yield place, holder[key]


def _names(path: str, message: str) -> str:
    """The classes that a refused file asks for."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # no zip file, an address, a pickle that uses other operations
        names = re.findall(r'GLOBAL (\S+)', message)
    reason = re.search(r'WeightsUnpickler error:\s*(.*?)(\. Please|\n|$)', message)
    return ', '.join(sorted(names)) or (reason.group(1) if reason else message)[:200]


def _refusal(path: str, what: str) -> UntrustedCheckpoint:
    return UntrustedCheckpoint(
        f"checkpoint '{path}' holds more than data: {what}. Loading it would run code of whoever "
        'made it. If you trust them: --trust-checkpoint, or in other programs '
        f'{TRUST_VARIABLE}=1.'
    )
