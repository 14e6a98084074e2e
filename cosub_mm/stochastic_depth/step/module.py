"""The module that stands in for DropPath."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident

from torch import Tensor, nn

from cosub_mm.stochastic_depth.rows.draw import Rows
from cosub_mm.stochastic_depth.rows.functional import mask_rows, put_rows, put_rows_eagerly

from . import errors
from .counts import Counts
from .plan import Draws, Pass, Plan
from .standing import still_stands

__all__ = ['Place', 'StochasticDepth']


@dataclass(frozen=True)
class Place:
    """Where an end of a branch stands; written once.

    Attributes:
        block: name of its block in the model.
        block_type: class of the block.
        path: the module in whose place it stands, or behind which, seen from the block.
        starts: where the branches that share it start, seen from the block; None: masked.
        convolutional: whether the block convolves over space, which ``'auto'`` asks.
        found: whether it was found automatically, and not named by the table.
        undropped: why the rate is 0, where the table says so.
        settings: drop_rate, schedule and implementation of the call that put it there.
        skipped: places in which no residual ends, and why, as that call found them.
        original: what stood here, if anything did.
        own_rate: attribute of the block with a rate of its own, which is switched off, and that.
        find: which blocks that call has searched.
        table: branches of the block that the table named then, or None.
    """

    block: str = ''
    block_type: str = ''
    path: str = ''
    starts: tuple[str | None, ...] = ()
    convolutional: bool = False
    found: bool = False
    undropped: str = ''
    settings: tuple = ()
    skipped: tuple[tuple[str, str], ...] = ()
    original: tuple[nn.Module | None, ...] = ()
    own_rate: tuple[str, float] | None = None
    find: str = 'drop_path'
    table: tuple | None = None


class StochasticDepth(nn.Module):
    """End of a residual branch: puts the kept rows back among zeros, for the stream to add.

    It has no parameters and no buffers, so ``state_dict`` keys stay. The rows are drawn where the
    branch starts, by :class:`~cosub_mm.stochastic_depth.step.hooks.Start`, and handed over in a
    plan. A branch that is masked draws them here. The hooks that lead rows here are there in
    training mode only.

    Args:
        rate: drop rate in [0, 1).
        implementation: ``'subset'`` computes the kept rows only, ``'mask'`` all of them, ``'auto'``
            decides by :func:`~cosub_mm.stochastic_depth.rows.rule.takes_subset`.
        scale_by_keep: divide the residual by the keep probability.
        place: where it stands.
        counts: the model's.
        draws: the model's.
    """

    def __init__(
        self,
        rate: float,
        implementation: str = 'auto',
        scale_by_keep: bool = True,
        place: Place | None = None,
        counts: Counts | None = None,
        draws: Draws | None = None,
    ) -> None:
        self.hooks: list = []  # what to switch on in training and off in evaluation
        super().__init__()
        self.base_rate = rate
        self.implementation = implementation
        self.place = place or Place()
        self.counts = counts or Counts()
        branches = max(len(self.place.starts), 1)
        self.step = Pass(rate, scale_by_keep, branches, self.counts, draws or Draws())
        self.starts: list = []  # the hooks of the branches' first modules
        self.home: tuple = ()  # its block, the module that holds it, and its name there
        self.last: tuple = ()  # behind which module it stands, what holds that, and its name there

    @property
    def training(self) -> bool:
        """Whether branches are dropped; it switches the hooks, so that evaluation has none."""
        return self.live

    @training.setter
    def training(self, mode: bool) -> None:
        self.live = mode
        for hook in self.hooks:
            hook.switch(mode)

    @property
    def drop_prob(self) -> float:
        """Drop rate now; a warm-up changes it."""
        return self.step.rate

    @drop_prob.setter
    def drop_prob(self, rate: float) -> None:
        self.step.rate = rate
        self.step.draws.rows.pop(self.step.number, None)  # drawn for the pass at the rate before

    @property
    def active(self) -> bool:
        """Whether a forward pass now would drop rows."""
        return self.live and self.step.rate > 0

    def forward(self, x: Tensor, behind: bool = False) -> Tensor:
        """Residual of the computed rows -> residual of all rows, dropped ones 0.

        ``behind`` is said by the hook of the module behind which it stands. A block that calls all
        its modules in turn, as nn.Sequential does, calls it once more, for nothing.
        """
        if not self.live or (self.last and not behind):
            return x
        step = self.step
        if not step.rate:
            return x  # also where a recomputation for backward, cut short, has left a plan
        plan = step.plan
        if plan is None:
            return self._mask(x, self.plan_here(x).rows)
        step.plan = None
        thread = step.thread
        if thread is not None and thread != get_ident():
            raise errors.two_threads(self.place)
        rows, subset, _ = plan
        if not subset:
            return self._mask(x, rows)
        if x.shape[0] != rows.index.shape[0]:
            if None in self.place.starts:  # a pass that was cut short left the plan of the other
                return mask_rows(x, self.plan_here(x).rows)
            raise errors.other_rows(self.place, rows.index.shape[0], rows.batch, x)
        return put_rows(x, rows) if thread is None else put_rows_eagerly(x, rows)

    def _mask(self, x: Tensor, rows: Rows) -> Tensor:
        if x.shape[0] != rows.batch:
            raise errors.other_rows(self.place, rows.batch, rows.batch, x)
        return mask_rows(x, rows)

    def plan_here(self, x: Tensor) -> Plan:
        """The plan of a branch that has no start."""
        if self.implementation != 'mask' and None not in self.place.starts:
            raise errors.no_start(self, x)
        return Plan(self.step.draw(x.shape[0], x.device), False)

    def _apply(self, fn: Callable, recurse: bool = True) -> 'StochasticDepth':
        """Take the counts along when the model moves to another device, and begin anew."""
        super()._apply(fn, recurse)
        self.counts.move(fn)
        return self

    def standing(self) -> nn.Module | None:
        """What stands in its place now, or in that of the module behind which it stands."""
        if self.last:
            module, parent, name = self.last
            now = getattr(parent, name, None)
            if not still_stands(module, now):
                return now
        return getattr(*self.home[1:], None) if self.home else self

    def __prepare_scriptable__(self) -> nn.Module:
        """What torch.jit.script takes in its place: in evaluation, nothing is done here."""
        if self.live:
            raise RuntimeError(
                f'{self.place.block}: torch.jit.script would fix the rows of one step for ever. '
                f'Script the model in evaluation mode (model.eval()), or call '
                f'remove_stochastic_depth(model) before.'
            )
        return nn.Identity()

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3f}, implementation={self.implementation!r}'
