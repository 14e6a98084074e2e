"""The only state between a branch's start and its end, and the rows drawn for a whole pass."""

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch

from cosub_mm.stochastic_depth.rows.draw import Rows, draw_rows, draw_rows_at_once

from . import errors
from .counts import Counts

__all__ = ['Draws', 'Pass', 'Plan']

# torch has no public way to ask these, and no cheap one. Without them no rows are drawn at once.
_hooks_on_saved = getattr(torch._C._autograd, '_top_saved_tensors_default_hooks', None)
_backward_task = getattr(torch._C, '_current_graph_task_id', None)
_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled


class Plan(NamedTuple):
    """What one pass through a branch does.

    Attributes:
        rows: the rows that were drawn.
        subset: whether the branch sees the kept rows only; otherwise all, and is masked.
        saving: what the start has entered and leaves again, or None.
    """

    rows: Rows
    subset: bool
    saving: AbstractContextManager | None = None


class Draws:
    """The rows of all branches of a model, drawn at once in each of its forward passes.

    A draw costs a dozen operators wherever it is made, on a GPU so many launches. Nothing is drawn
    ahead where a region may be computed anew for backward, which repeats the generator's numbers
    from where the region begins: under activation checkpointing each branch draws for itself.

    Attributes:
        passes: what the ends of the model draw for, in the model's order.
        open: whether a forward pass of the model is on its way.
        place: where the model's first end stands, if a branch computes the kept rows.
    """

    __slots__ = ('batch', 'device', 'open', 'opener', 'passes', 'place', 'rows')

    def __init__(self) -> None:
        self.passes: list[Pass] = []
        self.place: Any = None
        self.forget()

    def begin(self, module: object, args: tuple) -> None:
        """Forward pre-hook of the model.

        Raises:
            RuntimeError: a replica of it runs, whose branches would share their plans with others.
        """
        if not _is_compiling():
            if self.place is not None and getattr(module, '_is_replica', False):
                raise errors.data_parallel(self.place)
            self.forget()
            self.open = _hooks_on_saved is not None and _backward_task is not None

    def end(self, module: object, args: tuple, output: object) -> None:
        """Forward hook of the model, also called when it fails."""
        if not _is_compiling():
            self.forget()

    def forget(self) -> None:
        """Nothing is drawn ahead."""
        self.open = False
        self.batch, self.device, self.opener = 0, None, -1
        self.rows: dict[int, list[Rows]] = {}

    def take(self, number: int, batch: int, device: torch.device) -> Rows | None:
        """The rows of the branch at end ``number`` for ``batch`` rows, or None: draw them there."""
        if not _is_grad_enabled() or _hooks_on_saved(True) is not None or _backward_task() != -1:
            self.rows.pop(number, None)
            return None
        rows = self.rows.get(number)
        if rows and self.batch == batch and self.device == device:
            return rows.pop()
        if self.opener not in (-1, number):
            return None
        self._draw(number, batch, device)
        return self.rows[number].pop()

    def _draw(self, number: int, batch: int, device: torch.device) -> None:
        """Draw for the branches from ``number`` on."""
        self.batch, self.device, self.opener = batch, device, number
        rates, scales, numbers = [], [], []
        for one in self.passes[number:]:
            if one.rate:
                rates += [one.rate] * one.branches
                scales += [one.scale_by_keep] * one.branches
                numbers += [one.number] * one.branches
        rows = {number: [] for number in numbers}
        drawn = draw_rows_at_once(batch, rates, device, scales)
        while drawn:  # from the last, as they are taken from the end
            rows[numbers.pop()].append(drawn.pop())
        self.rows = rows

    def __getstate__(self) -> tuple:
        """Of a copy of the model no pass is on its way."""
        return self.passes, self.place

    def __setstate__(self, state: tuple) -> None:
        self.passes, self.place = state
        self.forget()


class Pass:
    """Where the start of a branch leaves the plan for its end, and what both read in each step.

    A plain object beside the module: writing to an attribute of a module costs ten times as much.

    Attributes:
        plan: the plan of a branch that was begun and has not ended, or None.
        thread: the thread that began it, or None in compiled code.
        rate: drop rate.
        scale_by_keep: whether the residual is divided by the keep probability.
        branches: how many branches have this end.
        counts: the model's.
        draws: the model's.
        number: which of them this is.
    """

    __slots__ = (
        'branches', 'counts', 'draws', 'number', 'plan', 'rate', 'scale_by_keep', 'thread',
    )  # fmt: skip

    def __init__(
        self, rate: float, scale_by_keep: bool, branches: int, counts: Counts, draws: Draws
    ) -> None:
        self.plan: Plan | None = None
        self.thread: int | None = None
        self.rate, self.scale_by_keep, self.branches = rate, scale_by_keep, branches
        self.counts, self.draws, self.number = counts, draws, len(draws.passes)
        draws.passes.append(self)

    def draw(self, batch: int, device: torch.device) -> Rows:
        """The rows of one branch, which are counted."""
        if not _is_compiling():
            return self.draw_eagerly(batch, device)
        rows = draw_rows(batch, self.rate, device, self.scale_by_keep)
        self.counts.add_compiled(rows, device)
        return rows

    def draw_eagerly(self, batch: int, device: torch.device) -> Rows:
        """The same, known to be outside torch.compile."""
        draws, counts = self.draws, self.counts
        rows = draws.take(self.number, batch, device) if draws.open else None
        if rows is None:
            rows = draw_rows(batch, self.rate, device, self.scale_by_keep)
        counts.seen += batch
        counts.kept += rows.kept
        return rows
