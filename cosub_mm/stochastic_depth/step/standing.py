"""Whether what ends a branch still stands where it stood, asked when its block returns."""

from typing import Any

import torch
from torch import nn

from . import errors

__all__ = ['Standing', 'place_of', 'still_stands']


class Standing:
    """Forward hook of a block: its ends have not been replaced since.

    For ends that no start watches, or that stand behind a module: without this a replaced module
    would take its hook along, and nothing would be dropped in silence.
    """

    __slots__ = ('ends',)

    def __init__(self, ends: list) -> None:
        self.ends = ends

    def __call__(self, module: nn.Module, args: tuple, output: Any) -> None:
        """Complain of the first that was."""
        if isinstance(output, torch.fx.Proxy):
            raise errors.fx(self.ends[0].place)
        if torch.compiler.is_compiling():
            return
        for end in self.ends:
            if end.standing() is not end:
                raise errors.not_ended(end)


def place_of(block: nn.Module, module: nn.Module) -> tuple[nn.Module, str]:
    """Which module holds another, and by which name: properties give modules further names."""
    return next(
        (parent, name)
        for parent in block.modules()
        for name, child in parent._modules.items()
        if child is module
    )


def still_stands(module: nn.Module, now: nn.Module | None) -> bool:
    """Whether ``module`` stands there, maybe within what hands everything on (FSDP)."""
    if now is module:
        return True
    if now is None or not any(part is module for part in now.modules()):
        return False
    return not {*now.parameters()} - {*module.parameters()}
