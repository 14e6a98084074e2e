"""What a residual branch is, and how the table tells one layout of a class from another."""

from collections.abc import Callable
from dataclasses import dataclass, fields

from torch import nn

__all__ = ['Branch', 'Entry', 'Side', 'by_layout']


@dataclass(frozen=True)
class Side:
    """What a branch is given beside the stream, sample by sample: a mask, positions, a condition.

    Args:
        module: path of a module of the branch that takes it, seen from the block.
        argument: name of the argument of that module's ``forward``.
        ndim: its dimensions where it holds one entry a sample, in the first of them, or as many
            entries a sample as there are heads. With fewer or more it is left as it is: all samples
            share it. A tuple of such tensors is taken entry by entry.
    """

    module: str
    argument: str
    ndim: int


@dataclass(frozen=True, repr=False)
class Branch:
    """One residual branch of a block.

    Args:
        start: path of the first module of the branch, seen from the block, or of a method where
            no module sees the stream; its first argument is the stream. None where the branch
            cannot be run on fewer rows: it is masked.
        end: path of its DropPath, or of the Identity or None that stands there at a rate of 0.
            Branches may share it. With ``after``, path of its last module, which stays.
        inert: paths of DropPaths that stand elsewhere, or would drop the branch a second time. They
            are switched off, so that the rate of ``end`` is the rate of the branch.
        after: the branch ends behind the module ``end``, whose result is what is added.
        shortcut: attribute that is None or False in those blocks of the class that have no
            shortcut, where nothing is added and nothing can be dropped.
        undropped: why the branch keeps a rate of 0 where its block was built with 0, whatever
            ``drop_rate`` is: its authors never drop it. To drop it all the same, build the block
            with a rate, or register it without this.
        sides: what modules of the branch are given sample by sample beside the stream. The kept
            rows of it are handed on.
        back: path of the module behind which all rows are needed again, for a block that reads its
            batch size before the branch starts (``view(batch, ...)``). From ``start`` to there the
            kept rows are computed, from there to ``end`` all rows, which ``end`` masks. The module
            ``start`` may be given several rows a sample, as windows are.
        own_rate: attribute of the block with the rate of a dropping of its own, in ``forward``. It
            is set to 0 while ours is there, and counts as the rate that the block was built with.
        one_stream: the block can also be called with a list of streams, which it would put into one
            tensor without a dimension of samples: refused.
        ndim: dimensions that the stream has with samples. With fewer it is one sample, whose tokens
            would be dropped in place of samples: refused.
    """

    start: str | None
    end: str
    inert: tuple[str, ...] = ()
    after: bool = False
    shortcut: str | None = None
    undropped: str = ''
    sides: tuple[Side, ...] = ()
    back: str = ''
    own_rate: str = ''
    one_stream: bool = False
    ndim: int = 0

    def __repr__(self) -> str:
        """As one would write it: what is left at its default is left out."""
        options = [(f.name, getattr(self, f.name)) for f in fields(self)[2:]]
        defaults = {f.name: f.default for f in fields(self)}
        more = [f', {name}={value!r}' for name, value in options if value != defaults[name]]
        return f'Branch({self.start!r}, {self.end!r}{"".join(more)})'

    def paths(self) -> tuple[str, ...]:
        """Every module that it names."""
        named = (self.start, self.end, *self.inert, self.back)
        return tuple(path for path in named if path)


Entry = tuple[Branch, ...] | Callable[[nn.Module], tuple[Branch, ...] | None]
"""Branches of a class, or what tells them of one block of it, None where it is not known."""


def by_layout(*layouts: tuple[Branch, ...]) -> Entry:
    """Those branches all of whose modules a block has: versions of a library name them otherwise.

    Args:
        *layouts: the first that fits is taken.
    """

    def choose(block: nn.Module) -> tuple[Branch, ...] | None:
        return next((branches for branches in layouts if _fits(block, branches)), None)

    return choose


def _fits(block: nn.Module, branches: tuple[Branch, ...]) -> bool:
    for branch in branches:
        for path in branch.paths():
            parent, _, name = path.rpartition('.')
            try:
                getattr(block.get_submodule(parent), name)
            except AttributeError:
                return False
    return True
