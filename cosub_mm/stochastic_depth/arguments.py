"""What :func:`apply_stochastic_depth` is given: models and arguments, checked before a change."""

import warnings
from collections.abc import Mapping
from numbers import Real
from typing import Any

import torch
from torch import nn

from .places.drop_path import ends_of
from .places.table import branches_of, class_name, is_sequence_first, refusal_of
from .report import Report
from .rows.rule import IMPLEMENTATIONS
from .rows.schedule import block_rates
from .search.find import UnknownBlockError, drop_path_slots

__all__ = ['FIND', 'check_arguments', 'check_blocks', 'check_model', 'check_starts', 'warn_of_zero']

FIND = ('drop_path', 'all')


def check_model(model: Any) -> None:
    """Raise unless ``model`` is one whose modules can be changed.

    Raises:
        TypeError: it is no module; the sentence says what to do with a name, a list or weights.
        ValueError: torch.jit, torch.fx or nn.DataParallel has made something else of it.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(_no_model(model))
    if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
        raise ValueError(
            'The model is an nn.DataParallel, whose replicas run in threads that would share one '
            'plan of rows. Use DistributedDataParallel (torchrun), or one device.'
        )
    for name, module in model.named_modules():
        where = f'The model ({type(module).__name__})' if not name else f'{name!r} of the model'
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(
                f'{where} was compiled by torch.jit, which leaves no modules to change. Apply '
                f'stochastic depth to the model itself, and script that in evaluation mode.'
            )
        if isinstance(module, torch.fx.GraphModule):
            raise ValueError(
                f"{where} was traced by torch.fx, as torchvision's feature extractor does: its "
                f'blocks have no forward of their own any more. Apply stochastic depth to the '
                f'model before it is traced, with its blocks as leaf_modules, or take features by '
                f'forward hooks.'
            )


def check_arguments(drop_rate: Any, schedule: str, implementation: str, find: str) -> None:
    """Raise a ValueError or TypeError that names what is allowed."""
    if implementation not in IMPLEMENTATIONS:
        raise ValueError(
            f'implementation={implementation!r} is unknown; choose from {IMPLEMENTATIONS}.'
        )
    if find not in FIND:
        raise ValueError(f'find={find!r} is unknown; choose from {FIND}.')
    if drop_rate is not None and (isinstance(drop_rate, bool) or not isinstance(drop_rate, Real)):
        raise TypeError(
            f'drop_rate={drop_rate!r} is a {type(drop_rate).__name__}: give one number in [0, 1) '
            f"for all blocks (schedule='linear' lets it rise over depth), or None to keep the "
            f'rates that the model was built with.'
        )
    block_rates(0.0 if drop_rate is None else drop_rate, 1, schedule)


def check_blocks(model: nn.Module, drop_rate: float | None) -> None:
    """Raise where a block cannot have stochastic depth, or stands under two names."""
    for name, module in model.named_modules():
        reason = refusal_of(module)
        if reason is None or (drop_rate is None and is_sequence_first(module)):
            continue  # without a rate nothing would be dropped there
        raise UnknownBlockError(
            f'{name or "The model"} ({class_name(type(module))}) cannot have stochastic depth: '
            f'{reason}. No registration helps; leave it to the drop path rate that it is built '
            f'with, or apply stochastic depth to the part of the model that you mean.'
        )
    _check_shared_blocks(model)


def check_starts(model: nn.Module) -> None:
    """Raise where the first module of a branch stands elsewhere, too: rows would be drawn there."""
    names: dict[int, list[str]] = {
        id(start.module): []
        for end in ends_of(model)
        for start in end.starts
        if start.module is not None
    }
    for name, module in model.named_modules(remove_duplicate=False):
        names.get(id(module), []).append(name)
    shared = next((places for places in names.values() if len(places) > 1), None)
    if shared is not None:
        raise ValueError(
            f'{shared[0]!r}, where a residual branch starts, and {shared[1]!r} are the same '
            f'module, which would leave out rows in both places: give each one of its own '
            f"(copy.deepcopy), or use implementation='mask'."
        )


def warn_of_zero(model: nn.Module, report: Report) -> None:
    """Say that nothing will be dropped."""
    if all(branch.rate == 0 for branch in report.blocks):
        warnings.warn(
            f'Stochastic depth was applied to {type(model).__name__} with a rate of 0 in every '
            f'branch: nothing will be dropped. Give drop_rate, for instance .1.',
            stacklevel=3,
        )


def _check_shared_blocks(model: nn.Module) -> None:
    first: dict[int, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if branches_of(module) is None and not drop_path_slots(module):
            continue
        if id(module) in first:
            raise ValueError(
                f'{first[id(module)]!r} and {name!r} are the same block. Its rate and its rows '
                f'would be ambiguous: give each place a block of its own (copy.deepcopy).'
            )
        first[id(module)] = name


def _no_model(model: Any) -> str:
    kind = type(model).__name__
    if isinstance(model, str):
        hint = f'it is a name; build the model first, as by timm.create_model({model!r})'
    elif isinstance(model, Mapping):
        hint = 'it holds weights, no modules; build the model, load them, and give the model'
    elif isinstance(model, list | tuple):
        hint = 'call it once for each model in it'
    elif isinstance(model, type):
        kind, hint = f'class, {model.__name__}', 'give an instance of it'
    else:
        hint = 'give an nn.Module'
    return f'model is a {kind}, no nn.Module: {hint}.'
