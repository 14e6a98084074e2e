"""The module that stands in for DropPath, and the hooks that lead rows to it."""

from torch import Tensor, nn

from .functional import Rows, draw_rows, mask_rows, put_rows, take_rows, weigh

__all__ = ['IMPLEMENTATIONS', 'StochasticDepth']

IMPLEMENTATIONS = ('auto', 'subset', 'mask')


class StochasticDepth(nn.Module):
    """End of a residual branch: puts the kept rows back among zeros, for the stream to add.

    It has no parameters and no buffers, so ``state_dict`` keys stay. The rows are drawn where the
    branch starts, by :meth:`begin`, a forward pre-hook of the branch's first module.

    Args:
        rate: drop rate in [0, 1).
        implementation: ``'subset'`` computes the kept rows only, ``'mask'`` all of them.
        reason: why this implementation was chosen, for the report.
        scale_by_keep: divide the residual by the keep probability.
    """

    def __init__(
        self, rate: float, implementation: str, reason: str = '', scale_by_keep: bool = True
    ) -> None:
        super().__init__()
        self.drop_prob = rate
        self.implementation = implementation
        self.reason = reason
        self.scale_by_keep = scale_by_keep
        self.block = ''
        self.path = ''
        self.original: tuple = ()  # in a tuple, so that it is no submodule
        self._rows: Rows | None = None
        self._batch = 0

    @property
    def active(self) -> bool:
        return self.training and self.drop_prob > 0

    def begin(self, module: nn.Module, args: tuple) -> tuple | None:
        """Forward pre-hook of the branch's first module: draw the rows, hand on the kept ones."""
        if not self.active:
            return None
        x = args[0]
        self._rows = draw_rows(len(x), self.drop_prob, x.device, self.scale_by_keep)
        self._batch = len(x)
        if self.implementation == 'mask':
            return None
        return (take_rows(x, self._rows.index), *args[1:])

    def reset(self, module: nn.Module, args: tuple) -> None:
        """Forward pre-hook of the block: forget what an interrupted forward has left."""
        self._rows = None

    def check(self, module: nn.Module, args: tuple, output: object) -> None:
        """Forward hook of the block: every branch that was begun must have ended."""
        if self._rows is not None:
            self._rows = None
            raise RuntimeError(
                f'{self.block}: a residual branch was begun and its end, {self.path!r}, never '
                f'reached. The branch is not what it is registered as.'
            )

    def forward(self, x: Tensor) -> Tensor:
        """Residual of the computed rows -> residual of all rows, dropped ones 0."""
        if not self.active:
            return x
        rows, batch = self._rows, self._batch
        self._rows = None
        if rows is None:
            raise RuntimeError(
                f'{self.block}: the end of a residual branch, {self.path!r}, was reached before '
                f'its start. The branch is not what it is registered as.'
            )
        expected = batch if self.implementation == 'mask' else len(rows.index)
        if len(x) != expected:
            raise RuntimeError(
                f'{self.block}: the branch that ends at {self.path!r} was given {expected} of '
                f'{batch} rows and returned {len(x)}. It takes its batch size from outside the '
                f"branch. Use implementation='mask' for this model."
            )
        if self.implementation == 'mask':
            return mask_rows(x, rows)
        return put_rows(weigh(x, rows), rows.index, batch)

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3f}, implementation={self.implementation!r}'
