"""The only state between a branch's start and its end."""

from contextlib import AbstractContextManager
from typing import NamedTuple

from cosub_mm.stochastic_depth.rows.functional import Rows

__all__ = ['Pass', 'Plan']


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


class Pass:
    """Where the start of a branch leaves the plan for its end.

    A plain object beside the module: writing to an attribute of a module costs ten times as much.

    Attributes:
        plan: the plan of a branch that was begun and has not ended, or None.
        thread: the thread that began it, or None in compiled code.
    """

    __slots__ = ('plan', 'thread')

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.thread: int | None = None
