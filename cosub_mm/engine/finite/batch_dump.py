"""A batch on disk, as the workers made it, with the random states of its step: no weights."""

import random
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.structures import BaseDataElement

__all__ = [
    'FOLDER',
    'decode_batch',
    'encode_batch',
    'encode_states',
    'files_of',
    'random_states',
    'read_dump',
    'set_random_states',
    'write_dump',
]

FOLDER = 'bad_steps'
_CLASS = 'sample class'
_STRUCTURES = ('mmengine.structures', 'mmpretrain.structures', 'mmseg.structures')
_PLAIN = (str, int, float, bool, type(None))


def random_states() -> dict[str, Any]:
    """States of Python, numpy and torch: noted in each step, read in few."""
    states = dict(
        python=random.getstate(), numpy=np.random.get_state(), torch=torch.get_rng_state()
    )
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def encode_states(states: dict[str, Any]) -> dict[str, Any]:
    """:func:`random_states` as plain data."""
    version, numbers, gauss = states['python']
    name, keys, *rest = states['numpy']
    return dict(
        states,
        python=[version, torch.tensor(numbers, dtype=torch.int64), gauss],
        numpy=[name, torch.from_numpy(keys.astype(np.int64)), *rest],
    )


def set_random_states(states: dict[str, Any]) -> None:
    """Go back to the random states of :func:`encode_states`."""
    version, numbers, gauss = states['python']
    random.setstate((version, tuple(numbers.tolist()), gauss))
    name, keys, *rest = states['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(states['torch'])
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'])


def files_of(batch: Any) -> list[str]:
    """Files of the samples of a batch, as far as its samples name them."""
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    return [str(s.metainfo['img_path']) for s in samples or () if 'img_path' in s.metainfo]


def encode_batch(value: Any) -> Any:
    """A batch as tensors, numbers, texts, lists and dicts; what else it holds becomes a text."""
    if isinstance(value, BaseDataElement):
        kind = f'{type(value).__module__}:{type(value).__name__}'
        meta, data = dict(value.metainfo_items()), dict(value.items())
        return {_CLASS: kind, 'meta': encode_batch(meta), 'data': encode_batch(data)}
    if isinstance(value, dict):
        return {str(key): encode_batch(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [encode_batch(one) for one in value]
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        return torch.from_numpy(value.copy())
    if torch.is_tensor(value):
        return value.detach().cpu().clone()
    return value if type(value) in _PLAIN else str(value)


def decode_batch(value: Any) -> Any:
    """The batch of :func:`encode_batch`.

    Raises:
        ValueError: a sample of a class that no data set of these libraries makes.
    """
    if isinstance(value, list):
        return [decode_batch(one) for one in value]
    if not isinstance(value, dict):
        return value
    if _CLASS not in value:
        return {key: decode_batch(one) for key, one in value.items()}
    module, _, name = str(value[_CLASS]).partition(':')
    if not module.startswith(_STRUCTURES):
        raise ValueError(f'samples of the class {value[_CLASS]!r} are not replayed.')
    sample = getattr(import_module(module), name)(metainfo=decode_batch(value['meta']))
    for key, one in value['data'].items():
        setattr(sample, key, decode_batch(one))
    return sample


def write_dump(folder: Path, iteration: int, rank: int, content: dict) -> Path:
    """Write the dump of a process; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'iter_{iteration}_rank_{rank}.pt'
    torch.save(content, path)
    return path


def read_dump(path: str | Path) -> dict:
    """Read a dump, as data.

    Raises:
        ValueError: no such file, or no dump.
    """
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        reason = f'{type(error).__name__}: {error}'.partition('\n')[0].partition('. ')[0]
        raise ValueError(f"'{path}' cannot be read as the dump of a batch ({reason}).") from error
    if not isinstance(content, dict) or not {'batches', 'iteration', 'losses'} <= set(content):
        raise ValueError(f"'{path}' is no dump of a batch; they lie in WORK_DIR/{FOLDER}.")
    return content
