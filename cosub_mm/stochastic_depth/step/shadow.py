"""What of ours shadows a method of somebody's module while that trains.

Hooks would do the same. But torch calls a module with any hook by a longer way: that of a first
module and of a block together took a sixth of what one of our branches costs the host.
"""

from typing import Any

import torch
from torch import nn

from . import errors
from .hooks import SideRows, Start
from .module import StochasticDepth

__all__ = ['MethodStart', 'Shadow', 'Watch']

_is_compiling = torch.compiler.is_compiling


class Shadow:
    """An attribute of a module that shadows one of its methods, and calls it.

    It has no slots, which the dynamo of torch 2.6 cannot read here.

    Args:
        owner: the module.
        name: its method.
    """

    def __init__(self, owner: nn.Module, name: str) -> None:
        self.owner, self.name = owner, name
        self.below: Any = None  # what somebody has shadowed the method with before
        self.there = self.on = False

    def switch(self, on: bool) -> None:
        """Be there, or not; under what somebody has put over it, it stays and does nothing."""
        attributes = self.owner.__dict__
        now = attributes.get(self.name)
        covered = self.there and now is not None and now is not self and now is not self.below
        if on and not covered and now is not self:
            self.below, self.there = now, True
            attributes[self.name] = self
        elif not on and now is self:
            self.there = False
            attributes.pop(self.name)
            if self.below is not None:
                attributes[self.name] = self.below
        elif not on:
            self.there = covered and not self._left(now)
        self.on = on

    def _left(self, over: Any) -> bool:
        """Whether it was under another of ours, which calls what was below it from now on."""
        while isinstance(over, Shadow) and over.below is not self:
            over = over.below
        if isinstance(over, Shadow):
            over.below = self.below
        return isinstance(over, Shadow)

    @property
    def bare(self) -> bool:
        """Whether nobody else has put something over it since, that may call it or not."""
        now = self.owner.__dict__.get(self.name)
        while isinstance(now, Shadow) and now is not self:
            now = now.below
        return not self.on or now is self

    def call(self, args: tuple, kwargs: dict) -> Any:
        """Call what it shadows, which somebody may have replaced in the class since."""
        if self.below is not None:
            return self.below(*args, **kwargs)
        owner = self.owner
        return getattr(type(owner), self.name)(owner, *args, **kwargs)


class MethodStart(Shadow):
    """A start, before a method of a module: for most branches the forward pass of their first.

    Args:
        owner: the module.
        name: its method.
        start: the start.
        sides: what the module is given by sample beside the stream.
    """

    def __init__(
        self, owner: nn.Module, name: str, start: Start, sides: list[SideRows] = ()
    ) -> None:
        super().__init__(owner, name)
        self.start, self.sides = start, sides

    def __call__(self, *args, **kwargs) -> Any:
        """Run the method on the kept rows."""
        if self.on:
            args = self.start(self.owner, args) or args
            for side in self.sides:
                args, kwargs = side(self.owner, args, kwargs) or (args, kwargs)
        return self.call(args, kwargs)


class Watch(Shadow):
    """Around the forward pass of a block: what was begun in it must have ended.

    Args:
        owner: the block.
        ends: of those of its branches that compute the kept rows.
    """

    def __init__(self, owner: nn.Module, ends: list[StochasticDepth]) -> None:
        super().__init__(owner, 'forward')
        self.ends = ends

    def __call__(self, *args, **kwargs) -> Any:
        """Forget what a failed pass has left; complain of what another has."""
        if not self.on or _is_compiling():
            return self.call(args, kwargs)
        try:
            output = self.call(args, kwargs)
        except Exception:
            errors.explain_failure(self.ends, self.owner, args, kwargs)
            self._forget()
            raise
        for end in self.ends:
            if end.step.plan is not None:
                self._forget()
                raise errors.not_ended(end)
        return output

    def _forget(self) -> None:
        for end in self.ends:
            end.step.plan = None
