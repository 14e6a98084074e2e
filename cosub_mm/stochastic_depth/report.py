"""What stochastic depth does to a model, block by block, as numbers and as a table."""

from dataclasses import dataclass, field

from torch import nn

from .copies.late_copy import verdict_on
from .places.drop_path import ends_of
from .rows.draw import kept_count
from .rows.rule import explain
from .step.module import Place, StochasticDepth

__all__ = ['BranchReport', 'Report', 'describe', 'realised_drop_rate']


@dataclass(frozen=True)
class BranchReport:
    """One residual branch.

    Attributes:
        block: name of the block in the model.
        block_type: class of the block.
        start: first module of the branch, or None if it is masked.
        end: module in DropPath's place.
        rate: drop rate asked for.
        implementation: ``'subset'`` or ``'mask'``.
        reason: why; of a branch that keeps a rate of 0, why it does.
        found: whether the branch was found automatically and proven, not named by the table.
    """

    block: str
    block_type: str
    start: str | None
    end: str
    rate: float
    implementation: str
    reason: str
    found: bool = False

    def kept_rows(self, batch_size: int) -> float:
        """Expected number of kept rows, exact: ``batch_size * (1 - rate)``."""
        whole, fraction = kept_count(batch_size, self.rate)
        return whole + fraction

    def computed_rows(self, batch_size: int) -> float:
        """Expected number of computed rows: at least 1; torch.compile rounds it up."""
        if self.implementation == 'mask' or self.rate == 0:
            return batch_size
        whole, fraction = kept_count(batch_size, self.rate)
        return max(whole, 1) + (fraction if whole else 0)

    def realised_rate(self, batch_size: int) -> float:
        """Mean share of rows that are dropped."""
        return 1 - self.kept_rows(batch_size) / batch_size


@dataclass(frozen=True)
class Report:
    """All branches of a model. ``print(report)`` shows a table, for ``batch_size`` rows.

    Attributes:
        blocks: one entry a residual branch, in the order of the model's modules.
        settings: drop_rate, schedule and implementation that the call was given.
        skipped: names of DropPath places in which no residual ends, and why.
        batch_size: rows that ``str(report)`` reckons with.
        late_copy: where the batch is copied for co-training, once it has been: see
            :func:`~cosub_mm.stochastic_depth.copy_batch_late`.
    """

    blocks: list[BranchReport]
    settings: tuple[float | None, str, str]
    skipped: dict[str, str] = field(default_factory=dict)
    batch_size: int = 64
    late_copy: str = ''

    def computed_share(self, batch_size: int) -> float:
        """Computed rows over all rows, mean over branches."""
        computed = [branch.computed_rows(batch_size) for branch in self.blocks]
        return sum(computed) / (len(computed) * batch_size)

    def table(self, batch_size: int) -> str:
        """The table for batches of ``batch_size`` rows (copies included)."""
        head = ('block', 'branch', 'rate', 'kept', 'realised', 'implementation', 'why')
        rows = [head, *(_cells(branch, batch_size) for branch in self.blocks)]
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = [f'Stochastic depth, {len(self.blocks)} branches, {batch_size} rows a batch:']
        lines += [_line(row, widths) for row in rows]
        lines += [f'not dropped: {name} ({reason})' for name, reason in self.skipped.items()]
        if self.late_copy:
            lines.append(f'copies of the batch are made {self.late_copy}')
        return '\n'.join(lines)

    def __str__(self) -> str:
        return self.table(self.batch_size)


def describe(model: nn.Module) -> Report | None:
    """Report on a model that stochastic depth was applied to, or None."""
    ends = ends_of(model)
    branches = [branch for end in ends for branch in _branches(end)]
    if not ends:
        return None
    place = next(end.place for end in ends if end.place.starts)
    return Report(branches, place.settings, dict(place.skipped), late_copy=verdict_on(model))


def realised_drop_rate(model: nn.Module, reset: bool = False) -> float:
    """Share of rows that the branches of ``model`` have dropped since the last reset.

    Branches with a rate of 0 do not count. Where nothing was counted, as before the first step, the
    mean of the rates asked for, which are the expected ones.

    Raises:
        ValueError: a model without stochastic depth.
    """
    ends = ends_of(model)
    if not ends:
        raise ValueError('The model has no stochastic depth; call apply_stochastic_depth first.')
    counts = {id(end.counts): end.counts for end in ends}.values()
    seen, kept = map(sum, zip(*(count.total(reset) for count in counts)))
    if not seen:
        rates = [end.drop_prob for end in ends for _ in end.place.starts if end.drop_prob]
        return sum(rates) / max(len(rates), 1)
    return 1 - kept / seen


def _branches(end: StochasticDepth) -> list[BranchReport]:
    place, device = end.place, end.counts.device.type
    entries = []
    for start in place.starts:
        implementation, reason = explain(end.implementation, place.convolutional, device, start)
        entries.append(
            BranchReport(
                place.block,
                place.block_type,
                start,
                place.path,
                end.drop_prob,
                implementation,
                _why(place, reason),
                place.found,
            )
        )
    return entries


def _why(place: Place, reason: str) -> str:
    if place.own_rate and place.own_rate[1]:
        reason += f'; its own dropping ({place.own_rate[0]}={place.own_rate[1]}) is switched off'
    return place.undropped or reason


def _cells(branch: BranchReport, batch_size: int) -> tuple[str, ...]:
    return (
        branch.block or '(model)',
        f'{branch.start or "…"} -> {branch.end}',
        f'{branch.rate:.3f}',
        f'{branch.kept_rows(batch_size):.4g}',
        f'{branch.realised_rate(batch_size):.3f}',
        branch.implementation,
        branch.reason + (' (found automatically)' if branch.found else ''),
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return '  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
