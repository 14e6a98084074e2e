"""Watch one forward pass and note every addition of two activations, one of which is the stream.

What DropPath tells by standing there, the additions tell of blocks that have none: ``x + f(x)``
adds to a tensor what was made of it.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

__all__ = ['Addition', 'Tape', 'Visit', 'watch_additions']

_ADD = frozenset(('add', 'add_', '__add__', '__radd__', '__iadd__'))


@dataclass(eq=False)
class Visit:
    """One call of a module.

    Attributes:
        name: of the module.
        module: it.
        parent: the call in which it was made.
        fed: number of its first tensor.
        begun: when it began, counted in operations.
        made: number of the tensor that it returned, alone or first in a tuple, once it has.
        ended: when it returned, counted in operations.
    """

    name: str
    module: nn.Module
    parent: 'Visit | None'
    fed: int | None
    begun: int
    made: int | None = None
    ended: int | None = None

    def callers(self) -> list['Visit']:
        """Itself and those that called it, nearest first."""
        chain, visit = [], self
        while visit is not None:
            chain.append(visit)
            visit = visit.parent
        return chain


@dataclass(eq=False)
class Addition:
    """One addition of two activations of one shape.

    Attributes:
        scope: the call of a module in whose ``forward`` it stands.
        stream: number of the operand from which the other was made; None where neither was made of
            the other, as behind a shortcut that is projected.
        residual: number of the other.
        operands: numbers of both.
        vanished: samples of the residual that are 0 throughout, bool (N,); of both operands the one
            with more of them where there is no stream.
        result: number of the sum.
    """

    scope: Visit | None
    stream: int | None
    residual: int
    operands: tuple[int, int]
    vanished: Tensor
    result: int = 0


@dataclass
class Tape:
    """What one forward pass did.

    Attributes:
        additions: in order.
        visits: calls of modules, in the order in which they began.
    """

    additions: list[Addition] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    parents: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def is_made_of(self, later: int, earlier: int) -> bool:
        """Whether one tensor was computed from another."""
        seen, todo = set(), [later]
        while todo:
            number = todo.pop()
            if number == earlier:
                return True
            if number > earlier and number not in seen:  # numbers rise with time
                seen.add(number)
                todo += self.parents.get(number, ())
        return False


class _Watch(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.tape = Tape()
        self.clock = 0
        self.stack: list[Visit] = []
        self._numbers: dict[int, tuple[weakref.ref, int]] = {}

    def number(self, x: Tensor, parents: tuple[int, ...] = (), anew: bool = False) -> int:
        """Number of a tensor; with ``anew`` a new one, because its values are."""
        known = self._numbers.get(id(x))
        if known is not None and known[0]() is x and not anew:
            return known[1]
        self.clock += 1
        self._numbers[id(x)] = (weakref.ref(x), self.clock)
        self.tape.parents[self.clock] = parents
        return self.clock

    def is_known(self, x: Tensor) -> bool:
        known = self._numbers.get(id(x))
        return known is not None and known[0]() is x

    def enter(self, name: str) -> Any:
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
            first = next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)
            fed = None if first is None else self.number(first)
            self.clock += 1
            visit = Visit(name, module, self.stack[-1] if self.stack else None, fed, self.clock)
            self.tape.visits.append(visit)
            self.stack.append(visit)

        return hook

    def leave(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        visit = self.stack.pop()
        given = tuple(self.number(x) for x in _tensors((args, kwargs)))
        for x in _tensors(output):  # what came out of a function that is not watched
            if not self.is_known(x):
                self.number(x, given)
        first = output[0] if isinstance(output, tuple) and output else output
        visit.made = self.number(first) if isinstance(first, Tensor) else None
        self.clock += 1
        visit.ended = self.clock

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = _tensors((args, kwargs))
        versions = [x._version for x in inputs]
        operands = tuple(self.number(x) for x in inputs)
        addition = self._addition(func, args, kwargs)
        result = func(*args, **kwargs)
        for x, version in zip(inputs, versions):
            if x._version != version:
                self.number(x, operands, anew=True)
        for x in _tensors(result):
            if not any(x is y for y in inputs):
                self.number(x, operands)
        if addition is not None:
            addition.result = self.number(result)
            self.tape.additions.append(addition)
        return result

    def _addition(self, func: Any, args: tuple, kwargs: dict) -> Addition | None:
        if getattr(func, '__name__', '') not in _ADD or len(args) < 2 or kwargs:
            return None
        left, right = args[:2]
        if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
            return None
        if left.shape != right.shape or left.ndim < 2 or not left.is_floating_point():
            return None
        a, b = self.number(left), self.number(right)
        stream, residual, x = None, b, right
        if a != b and self.tape.is_made_of(b, a):
            stream = a
        elif a != b and self.tape.is_made_of(a, b):
            stream, residual, x = b, a, left
        vanished = _vanished(x)
        if stream is None:
            vanished = max(vanished, _vanished(left), key=lambda rows: int(rows.sum()))
        scope = self.stack[-1] if self.stack else None
        return Addition(scope, stream, residual, (a, b), vanished)


@contextmanager
def watch_additions(model: nn.Module) -> Iterator[Tape]:
    """Watch what ``model`` does within; its mode is the caller's.

    It is run without gradients.
    """
    watch, handles = _Watch(), []
    for name, module in model.named_modules():
        handles.append(
            module.register_forward_pre_hook(watch.enter(name), with_kwargs=True, prepend=True)
        )
        handles.append(module.register_forward_hook(watch.leave, with_kwargs=True))
    try:
        with torch.no_grad(), watch:
            yield watch.tape
    finally:
        for handle in handles:
            handle.remove()


def _tensors(x: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(x) if isinstance(leaf, Tensor)]


def _vanished(x: Tensor) -> Tensor:
    return (x == 0).flatten(1).all(1)
