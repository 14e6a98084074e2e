"""Branches of blocks that read their batch size first: they need all rows again before they end.

Swin of Hugging Face cuts the stream into windows and puts them together with ``view(batch, ...)``.
What lies between, its attention, is given several windows a sample; it computes those of the kept
samples, and hands zeros on for the others. The end of the branch masks.
"""

from typing import Any

from torch import Tensor

from cosub_mm.stochastic_depth.rows.functional import put_rows

from . import errors
from .hooks import Start

__all__ = ['Back', 'NoteBatch', 'OneStream', 'WindowStart']


class WindowStart(Start):
    """A start whose module is given several entries a sample, sample by sample."""

    __slots__ = ('batch',)

    def __call__(self, module: Any, args: tuple) -> tuple | None:
        """Hand on what belongs to the kept samples."""
        x = args[0] if args else None
        if not isinstance(x, Tensor) or not self.end.drop_prob:
            return super().__call__(module, args)
        given = super().__call__(module, (x.unflatten(0, (self.batch, -1)), *args[1:]))
        return None if given is None else (given[0].flatten(0, 1), *given[1:])


class NoteBatch:
    """Forward pre-hook of the block: how many samples there are."""

    __slots__ = ('start',)

    def __init__(self, start: WindowStart) -> None:
        self.start = start

    def __call__(self, module: Any, args: tuple, kwargs: dict) -> None:
        """Read it off the stream."""
        self.start.batch = (*args, *kwargs.values())[0].shape[0]


class OneStream:
    """Forward pre-hook of a block that could be given a list of streams, or one without samples.

    Args:
        end: of a branch of it.
        ndim: dimensions of a stream with samples; 0 for any.
    """

    __slots__ = ('end', 'ndim')

    def __init__(self, end: Any, ndim: int) -> None:
        self.end, self.ndim = end, ndim

    def __call__(self, module: Any, args: tuple, kwargs: dict) -> None:
        """Refuse what has no samples that the branch would be able to tell apart."""
        x = next(iter((*args, *kwargs.values())), None)
        if x is None or not self.end.active:
            return
        if not isinstance(x, Tensor):
            raise errors.many_streams(self.end.place, x)
        if x.ndim < self.ndim:
            raise errors.no_samples(self.end.place, x)


class Back:
    """Forward hook of the module behind which all samples are needed again."""

    __slots__ = ('end',)

    def __init__(self, end: Any) -> None:
        self.end = end

    def __call__(self, module: Any, args: tuple, output: Any) -> Any:
        """Put the kept samples among zeros, which the end masks: what lies between may add to 0."""
        plan = self.end.step.plan
        if plan is None or not plan.subset:
            return None
        rows = plan.rows
        x = output[0] if isinstance(output, tuple) else output
        x = put_rows(x.unflatten(0, (rows.index.shape[0], -1)), rows._replace(scale=1.0))
        self.end.step.plan = plan._replace(subset=False)
        x = x.flatten(0, 1)
        return (x, *output[1:]) if isinstance(output, tuple) else x
