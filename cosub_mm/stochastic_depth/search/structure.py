"""What two blocks must share for one proof to serve both."""

import hashlib
from collections.abc import Hashable
from enum import Enum
from functools import partial
from numbers import Number
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from cosub_mm.stochastic_depth.places.drop_path import is_drop_path
from cosub_mm.stochastic_depth.step.module import StochasticDepth
from cosub_mm.stochastic_depth.step.shadow import Shadow

__all__ = ['arguments_of', 'structure_of']

_BOOKKEEPING = frozenset(vars(nn.Module()))
_RATES = ('drop_prob', 'p')  # rise over depth, and are off in a proof
_PLAIN = (Number, str, bytes, type, FunctionType, BuiltinFunctionType, Enum)
_PLAIN += (type(None), torch.dtype, torch.device)


class _Same:
    """Something that cannot be compared by value: it equals itself only."""

    __slots__ = ('thing',)

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def structure_of(block: nn.Module) -> Hashable:
    """All that the forward pass of ``block`` may depend on, but for the values of parameters.

    Attributes are compared by value where that is safe, and else by identity. Left out are the
    rates of DropPaths, the running statistics of batch norm and hooks. What an end of stochastic
    depth has replaced stands for it.
    """
    modules = [(name, _original(module)) for name, module in block.named_modules()]
    paths = {id(module): name for name, module in modules}
    return tuple((name, type(module), *_state(module, paths)) for name, module in modules)


def arguments_of(args: tuple, kwargs: dict) -> Hashable:
    """All that a call depends on, but for the values of tensors."""
    return _comparable((args, kwargs), {}, by_shape=True)


def _original(module: nn.Module) -> nn.Module | None:
    if isinstance(module, StochasticDepth):
        return (*module.place.original, None)[0]
    return module


def _state(module: nn.Module | None, paths: dict[int, str]) -> tuple:
    if module is None:
        return ()
    attributes = {
        k: v for k, v in vars(module).items() if k not in _BOOKKEEPING and not isinstance(v, Shadow)
    }
    if not isinstance(module, _NormBase):
        attributes |= {f'buffer {k}': v for k, v in module._buffers.items()}
    if is_drop_path(module):
        attributes = {k: v for k, v in attributes.items() if k not in _RATES}
    shapes = tuple((k, None if p is None else p.shape) for k, p in module._parameters.items())
    return shapes, tuple((k, _comparable(v, paths)) for k, v in sorted(attributes.items()))


def _comparable(x: Any, paths: dict[int, str], by_shape: bool = False) -> Hashable:
    try:
        value = _value(x, paths, by_shape)
        hash(value)
    except Exception:  # contains itself, has no data, ...
        return _Same(x)
    return value


def _value(x: Any, paths: dict[int, str], by_shape: bool) -> Hashable:
    if isinstance(x, _PLAIN):
        return type(x), x
    if isinstance(x, Tensor):
        return (x.dtype, x.shape) if by_shape else (x.dtype, x.shape, _digest(x))
    if isinstance(x, nn.Module):
        return paths.get(id(x), _Same(x))
    if isinstance(x, dict):
        parts: tuple = tuple(x.items())
    elif isinstance(x, list | tuple):
        parts = tuple(x)
    elif isinstance(x, set | frozenset):
        return type(x), frozenset(_value(part, paths, by_shape) for part in x)
    elif isinstance(x, partial):
        parts = (x.func, x.args, x.keywords)
    elif isinstance(x, MethodType):
        parts = (x.__func__, x.__self__)
    else:
        return _Same(x)
    return type(x), tuple(_value(part, paths, by_shape) for part in parts)


def _digest(x: Tensor) -> bytes:
    data = x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return hashlib.sha256(data).digest()
