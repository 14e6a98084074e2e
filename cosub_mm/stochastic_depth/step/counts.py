"""How many rows the branches of a model have seen, and how many of them they kept."""

from collections.abc import Callable

import torch
from torch import Tensor

from cosub_mm.stochastic_depth.rows.draw import Rows

__all__ = ['Counts']


class Counts:
    """One for all branches of a model.

    Attributes:
        seen: rows since the last reset, outside torch.compile.
        kept: those of them that were kept.
        compiled: the same two of compiled code, int64 (2,): a number that changes would recompile
            it in each step. No buffer, because mmengine writes even those that are not persistent
            into checkpoints.
    """

    __slots__ = ('compiled', 'kept', 'seen')

    def __init__(self) -> None:
        self.seen = 0
        self.kept = 0
        self.compiled = torch.zeros(2, dtype=torch.int64)

    def add_compiled(self, rows: Rows, device: torch.device) -> None:
        """Count the rows of one branch in compiled code."""
        if self.compiled.device == device:
            coin = 0 if rows.coin is None else rows.coin.to(torch.int64)
            self.compiled[0:1].add_(rows.batch)
            self.compiled[1:2].add_(rows.kept + coin)

    def total(self, reset: bool = False) -> tuple[int, int]:
        """Rows seen and rows kept since the last reset."""
        seen, kept = self.compiled.tolist()
        total = (seen + self.seen, kept + self.kept)
        if reset:
            self.seen = self.kept = 0
            self.compiled.zero_()
        return total

    def move(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Go where the model goes, and begin anew."""
        self.compiled = fn(self.compiled).zero_()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.compiled.device
