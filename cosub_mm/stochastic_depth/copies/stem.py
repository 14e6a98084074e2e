"""Copy a batch inside a model: at its first random block, or behind the modules of its stem."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from cosub_mm.stochastic_depth.savings.regather import others_rule
from cosub_mm.stochastic_depth.step.hooks import Hook

__all__ = ['Copier', 'Keeping', 'keeping', 'repeat', 'stem_candidates']


class Keeping(NamedTuple):
    """What autograd keeps of a forward pass at one place of it.

    A checkpoint changes it: within, a reentrant one keeps nothing, another has hooks of its own.
    """

    is_grad_enabled: bool
    others_rule: bool


def keeping() -> Keeping:
    """What autograd keeps here and now."""
    return Keeping(torch.is_grad_enabled(), others_rule())


class Copier:
    """Copies a batch ``count`` times; with a count of 1 it does nothing.

    Attributes:
        count: how many copies the next forward pass makes.
        keeping: what autograd keeps where that pass is called.
        hooks: what to switch on and off.
    """

    __slots__ = ('count', 'hooks', 'keeping')

    def __init__(self, block: nn.Module | None = None, stem: list[nn.Module] = ()) -> None:
        """At the first random ``block``, or behind the modules of the ``stem``."""
        self.count = 1
        self.keeping: Keeping | None = None
        self.hooks = []
        if block is not None:
            self.hooks.append(Hook(block, 'register_forward_pre_hook', self.copy_input))
        for module in stem:
            self.hooks.append(Hook(module, 'register_forward_pre_hook', self.fold))
            self.hooks.append(Hook(module, 'register_forward_hook', self.unfold))

    def switch(self, on: bool) -> None:
        """Switch all hooks."""
        for hook in self.hooks:
            hook.switch(on)

    def copy_input(self, module: nn.Module, args: tuple) -> tuple | None:
        """Forward pre-hook of the first random block."""
        if self.count == 1:
            return None
        self._check()
        return (repeat(args[0], self.count), *args[1:])

    def fold(self, module: nn.Module, args: tuple) -> tuple | None:
        """Forward pre-hook of a stem that is given copies: one of each sample is enough."""
        if self.count == 1:
            return None
        self._check()
        return (args[0][: len(args[0]) // self.count], *args[1:])

    def unfold(self, module: nn.Module, args: tuple, output: object) -> object:
        """Forward hook of the same: copy what it returns for each sample."""
        if self.count == 1:
            return None
        return tree_map(partial(self._copy, len(args[0])), output)

    def _check(self) -> None:
        """Backward would compute this anew without copies, and the trial knew nothing of it."""
        if torch.compiler.is_compiling() or self.keeping is None or self.keeping == keeping():
            return
        raise RuntimeError(
            'Activation checkpointing was switched on where a batch is copied for co-training, '
            'after its first step. Switch it on before the first step, or call '
            'remove_stochastic_depth(model) and apply_stochastic_depth(model, ...) again.'
        )

    def _copy(self, rows: int, x: object) -> object:
        if not isinstance(x, Tensor) or x.ndim == 0 or len(x) != rows:
            return x
        return repeat(x, self.count)


def repeat(x: Tensor, times: int) -> Tensor:
    """The batch, then the batch again, ...: (times * B, ...)."""
    return x.repeat(times, *[1] * (x.ndim - 1))


def stem_candidates(model: nn.Module, block: nn.Module) -> list[nn.Module]:
    """Modules beside the path from ``model`` to ``block`` that have parameters."""
    candidates, node = [], model
    while node is not block:
        inner = next(child for child in node.children() if block in set(child.modules()))
        candidates += [
            child
            for child in node.children()
            if child is not inner and next(child.parameters(), None) is not None
        ]
        node = inner
    return candidates
