"""Watch one forward pass: which modules are called, and what each DropPath's result is added to."""

import inspect
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ['Call', 'EndCall', 'Probe', 'trace_ends']

_BLOCK_DEPTH = 3  # a DropPath stands at most so many modules below its block
_SCALINGS = ('mul', 'div', 'matmul', 'linear', 'conv', 'norm')


class Probe(nn.Module):
    """Stands in DropPath's place while the model is watched; returns its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Call:
    """One call of a module: what it was given, and the calls it made."""

    def __init__(self, name: str, module: nn.Module, args: tuple, kwargs: dict, parent: 'Call'):
        self.name, self.module, self.parent = name, module, parent
        self.args: tuple = args
        self.kwargs: dict = kwargs
        self.children: list[Call] = []
        first = next(iter((*args, *kwargs.values())), None)
        self._input = weakref.ref(first) if isinstance(first, Tensor) else None
        given = {**dict(zip(_parameters(module), args)), **kwargs}
        self._given = {k: weakref.ref(x) for k, x in given.items() if isinstance(x, Tensor)}

    def is_fed_by(self, x: Tensor) -> bool:
        """Whether the first argument was this very tensor."""
        return self._input is not None and self._input() is x

    def takes(self, tensors: list[Tensor]) -> list[tuple[str, int]]:
        """Which arguments were one of these very ``tensors``, and their dimensions."""
        ours = {id(x): x for x in tensors}
        held = {name: given() for name, given in self._given.items()}
        return [(name, x.ndim) for name, x in held.items() if x is not None and id(x) in ours]

    def first_name(self) -> str | None:
        """Name of the first argument, which the rows of the stream take if it starts a branch."""
        return next(iter(_parameters(self.module)), None)

    def ancestors(self) -> list['Call']:
        """The callers, nearest first, without the call itself."""
        chain, call = [], self.parent
        while call is not None:
            chain.append(call)
            call = call.parent
        return chain

    def descendants(self) -> list['Call']:
        """The calls below, in the order in which they began."""
        return [c for child in self.children for c in (child, *child.descendants())]

    def close(self) -> None:
        """Let go of the arguments once the call is over."""
        self.args, self.kwargs = (), {}


def _parameters(module: nn.Module) -> list[str]:
    try:
        return list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        return []


class EndCall:
    """One call of a DropPath, and the addition that its result goes into."""

    def __init__(self, call: Call, output: Tensor):
        self.call = call
        self.scope: Call | None = None
        self._derived = {id(output): output}

    def see(self, name: str, operands: list[Tensor], result: Any, caller: Call) -> Tensor | None:
        """Follow one operation; returns the stream if it is where the branch joins the stream.

        That is an addition, or whatever else takes a second activation of the same shape
        (torch.addcmul, torch.lerp); products with weights are followed further.
        """
        mine = [x for x in operands if id(x) in self._derived]
        if not mine:
            return None
        others = [
            x
            for x in operands
            if id(x) not in self._derived
            and not isinstance(x, nn.Parameter)
            and x.shape[:1] == mine[0].shape[:1]
            and x.ndim == mine[0].ndim
        ]
        if others and not any(scaling in name for scaling in _SCALINGS):
            self.scope = caller
            self._derived.clear()
            return others[0]
        if isinstance(result, Tensor):
            self._derived[id(result)] = result
        return None


class _Watch(TorchFunctionMode):
    def __init__(self, on_add: Callable[[EndCall, Tensor | None], None]):
        super().__init__()
        self.stack: list[Call | None] = [None]
        self.pending: list[EndCall] = []
        self.on_add = on_add

    def enter(self, name: str):
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
            call = Call(name, module, args, kwargs, self.stack[-1])
            if self.stack[-1] is not None:
                self.stack[-1].children.append(call)
            self.stack.append(call)

        return hook

    def leave(self, module: nn.Module, args: tuple, output: Any) -> None:
        call = self.stack.pop()
        if isinstance(module, Probe) and isinstance(output, Tensor):
            self.pending.append(EndCall(call, output))
        for end in list(self.pending):
            if call is end.call.ancestors()[:_BLOCK_DEPTH][-1]:  # left without an addition
                self.pending.remove(end)
                self.on_add(end, None)
        call.close()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if self.pending:
            operands = [x for x in args if isinstance(x, Tensor)]
            operands += [
                x for a in args if isinstance(a, (list, tuple)) for x in a if isinstance(x, Tensor)
            ]
            for end in list(self.pending):
                name = getattr(func, '__name__', '')
                stream = end.see(name, operands, result, self.stack[-1])
                if stream is not None:
                    self.pending.remove(end)
                    self.on_add(end, stream)
        return result


def trace_ends(
    model: nn.Module, inputs: tuple, on_add: Callable[[EndCall, Tensor | None], None]
) -> None:
    """Run ``model(*inputs)`` in evaluation mode and report each DropPath's addition.

    Args:
        model: its places of DropPath hold a :class:`Probe`.
        inputs: arguments of the model.
        on_add: called at the addition, while the callers' arguments are still at hand, with the
            stream that is added to, or None if the result was not seen to be added.
    """
    watch = _Watch(on_add)
    handles = []
    modes = {module: module.training for module in model.modules()}
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(watch.enter(name), with_kwargs=True))
        handles.append(module.register_forward_hook(watch.leave))
    try:
        model.eval()  # a method, because some modules prepare for it there
        with torch.no_grad(), watch:
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        model.train(modes[model])
        for module, mode in modes.items():
            module.training = mode
