"""What is said where the rows of a branch do not come to its end as they should."""

import inspect
import sys
from typing import Any

import torch.fx
from torch import Tensor, nn

__all__ = [
    'data_parallel',
    'explain_failure',
    'fx',
    'many_streams',
    'no_samples',
    'no_start',
    'not_ended',
    'other_rows',
    'two_threads',
    'wrapped',
]

_AGAIN = 'Change the model first, then call apply_stochastic_depth (again).'


def other_rows(place: Any, expected: int, batch: int, x: Tensor) -> RuntimeError:
    """The branch returned another number of rows than it was given."""
    return RuntimeError(
        f'{place.block or "The block"}: the branch that ends at {place.path!r} was given '
        f'{expected} of {batch} rows and returned {x.shape[0]}: the block reads its '
        f'batch size before the branch starts, or something that it is given has all rows. Use '
        f"implementation='mask' for this model, or register the block with a later start."
    )


def explain_failure(ends: list, block: nn.Module, args: tuple, kwargs: dict) -> None:
    """Say of a block that fails what may be the reason: what it was given, or what replaced an end.

    An error of one's own would be swallowed where this is called: in a hook, while another is on
    its way. So that one is told.
    """
    error = sys.exc_info()[1]
    if type(error) not in (RuntimeError, AssertionError, ValueError, IndexError):
        return
    place = ends[0].place
    replaced = next((end for end in ends if end.standing() is not end), None)
    if replaced is not None:
        error.args = (f'{not_ended(replaced)} It fails with: {error}',)
        return
    suspects = _of_each_row(block, args, kwargs)
    if suspects and place.block_type:
        error.args = (
            f'{place.block} ({place.block_type}) fails where its residual branches see the kept '
            f'rows only, and it is given {", ".join(map(repr, suspects))} beside the stream with '
            f'all rows. If that holds one entry a sample, use '
            f"implementation='mask', or tell which module of the branch takes it: "
            f'register_block({type(block).__name__}, Branch(start, end, sides=(Side(module, '
            f'argument, ndim),)), ...). It fails with: {error}',
        )


def _of_each_row(block: nn.Module, args: tuple, kwargs: dict) -> list[str]:
    """Arguments, beside the first tensor, with as many entries as that has rows."""
    names = list(inspect.signature(type(block).forward).parameters)[1:]
    given = {**dict(zip(names, args)), **kwargs}
    tensors = {name: x for name, x in given.items() if isinstance(x, Tensor) and x.ndim}
    stream = next(iter(tensors.values()), None)
    return [name for name, x in tensors.items() if x is not stream and len(x) == len(stream)]


def no_start(end: nn.Module, x: Any) -> RuntimeError:
    """The end of a branch was reached that had not begun."""
    place = end.place
    if isinstance(x, torch.fx.Proxy):
        return fx(place)
    for start in end.starts:
        now = start.standing()
        if now is not start.module and start.module is not None:
            return _replaced(place, start.path, now)
        if any(getattr(hook, 'start', None) is start and not hook.bare for hook in end.hooks):
            return RuntimeError(
                f'{place.block}: the forward of {start.path!r} was assigned after stochastic depth '
                f'was applied, in place of what draws the rows there. {_AGAIN}'
            )
    return RuntimeError(
        f'{place.block}: the end of a residual branch, {place.path!r}, was reached before its '
        f'start. The branch is not what it is registered as.'
    )


def not_ended(end: nn.Module) -> RuntimeError:
    """A branch had begun whose end was not reached."""
    place = end.place
    now = end.standing()
    if now is not end:
        return _replaced(place, place.path, now)
    return RuntimeError(
        f'{place.block}: a residual branch was begun and its end, {place.path!r}, was not '
        f'reached. The branch is not what it is registered as.'
    )


def wrapped(place: Any, path: str, now: nn.Module) -> RuntimeError:
    """The first module of a branch is called from within what was put around it."""
    return RuntimeError(
        f'{place.block}: {path!r}, where a residual branch starts, was wrapped in a '
        f'{type(now).__name__} (as LoRA does) after stochastic depth was applied, and only the '
        f'module inside would see the kept rows. {_AGAIN}'
    )


def data_parallel(place: Any) -> RuntimeError:
    """A replica of the model runs."""
    return RuntimeError(
        f'{place.block}: a replica of the model runs, as nn.DataParallel makes them; its threads '
        f"would share one plan of rows. Use DistributedDataParallel, or implementation='mask'. "
        f"(Hugging Face's Trainer wraps a model so on several GPUs: start it with torchrun.)"
    )


def many_streams(place: Any, x: Any) -> RuntimeError:
    """A block was given several streams at once."""
    return RuntimeError(
        f'{place.block} ({place.block_type}) was given a {type(x).__name__} of {len(x)} streams, '
        f'which it joins into one without a dimension of samples, so that no sample could be '
        f'dropped. Call the model once for each (each crop size), or leave it to the drop path '
        f'rate that it is built with.'
    )


def no_samples(place: Any, x: Tensor) -> RuntimeError:
    """A block was given one sample without a dimension of samples."""
    return RuntimeError(
        f'{place.block or "The block"} ({place.block_type}) was given one sample without a '
        f'dimension of samples, {tuple(x.shape)}: its tokens would be dropped in place of samples. '
        f'Give it a batch of one, x[None].'
    )


def two_threads(place: Any) -> RuntimeError:
    """Two threads run the model at once."""
    return RuntimeError(
        f'{place.block}: the branch that ends at {place.path!r} was begun in another thread. Two '
        f'threads that run one model in training mode would mix their rows: give each a copy '
        f"(copy.deepcopy), or use implementation='mask'."
    )


def no_tensor(place: Any, path: str, x: Any) -> RuntimeError:
    """The first module of a branch was given something else than a tensor."""
    if isinstance(x, torch.fx.Proxy):
        return fx(place)
    return RuntimeError(
        f'{place.block}: {path!r}, the first module of a branch, must be given the stream as its '
        f'first positional argument, a tensor, and was given '
        f'{"none" if x is None else type(x).__name__}. Register the block with another start.'
    )


def _replaced(place: Any, path: str, now: nn.Module | None) -> RuntimeError:
    return RuntimeError(
        f'{place.block}: {path!r} was replaced by a {type(now).__name__} after stochastic depth '
        f'was applied, and took its hooks along. {_AGAIN}'
    )


def fx(place: Any) -> RuntimeError:
    """torch.fx traces the model."""
    return RuntimeError(
        f'{place.block}: torch.fx traces this model, which would fix the rows of one step for '
        f'ever. Trace it in evaluation mode, or call remove_stochastic_depth(model) before.'
    )
