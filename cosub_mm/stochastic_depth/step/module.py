"""The module that stands in for DropPath, and the hooks that lead rows to it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.module import _has_any_global_hook
from torch.utils._pytree import tree_map

from ..rows.functional import Rows, draw_rows, mask_rows, put_rows, take_rows
from ..rows.rule import choose
from ..savings.pending import PendingResidual, Stream
from ..savings.regather import regather_for_backward

__all__ = ['StochasticDepth']


class StochasticDepth(nn.Module):
    """End of a residual branch: puts the kept rows back among zeros, for the stream to add.

    It has no parameters and no buffers, so ``state_dict`` keys stay. The rows are drawn where the
    branch starts, by :meth:`begin`, a forward pre-hook of the branch's first module. A branch
    without a start is masked, and its rows are drawn here.

    Args:
        rate: drop rate in [0, 1).
        implementation: ``'subset'`` computes the kept rows only, ``'mask'`` all of them, ``'auto'``
            decides by :func:`~cosub_mm.stochastic_depth.rule.choose`.
        scale_by_keep: divide the residual by the keep probability.
        convolutional: whether the block convolves over space, which ``'auto'`` asks.
    """

    def __init__(
        self,
        rate: float,
        implementation: str = 'auto',
        scale_by_keep: bool = True,
        convolutional: bool = False,
    ) -> None:
        super().__init__()
        self.base_rate = rate
        self.drop_prob = rate
        self.implementation = implementation
        self.scale_by_keep = scale_by_keep
        self.convolutional = convolutional
        self.block = self.block_type = self.path = ''  # where it stands, for messages
        self.undropped = ''  # why the rate is 0, where the table says so
        self.settings: tuple = ()  # the arguments of the call that put it there
        self.starts: list[str | None] = []
        self.found = False  # automatically, not by the table
        self.original: tuple = ()  # what stood here, if anything; a tuple makes it no submodule
        self.between: tuple[nn.Module, ...] = ()  # modules that return the residual to the block
        self.copies = self.stem_copies = 1  # of the batch: see late_copy
        self._rows: Rows | None = None
        self._stream: Stream | None = None
        self._saving: saved_tensors_hooks | None = None
        self._subset = False
        self._seen = 0
        self._kept = 0
        # The same two, of compiled code: an integer that changes would recompile it each step. No
        # buffer, because mmengine writes even those that are not persistent into checkpoints.
        self._compiled_counts = torch.zeros(2, dtype=torch.int64)

    @property
    def active(self) -> bool:
        """Whether a forward pass now would drop rows."""
        return self.training and self.drop_prob > 0

    @property
    def device(self) -> torch.device:
        """Where the block is."""
        return self._compiled_counts.device

    def begin(self, module: nn.Module, args: tuple) -> tuple | None:
        """Forward pre-hook of the branch's first module: draw the rows, hand on the kept ones."""
        if not self.active:
            return None
        if not args:
            raise RuntimeError(
                f'{self.block}: the first module of a branch must be given the stream as its first '
                f'positional argument. Register the block with another start.'
            )
        x = args[0]
        self._draw(x)
        self._subset = choose(self, x, len(self._rows.index)) == 'subset'
        if not self._subset:
            return None
        taken, joint = take_rows(x, self._rows)
        if self._may_wait():
            self._stream = Stream(x, joint)
        if module not in self.between:
            self._saving = regather_for_backward(x, taken, self._rows.index)
        if self._saving is not None:
            self._saving.__enter__()
        return (taken, *args[1:])

    def begun(self, *_) -> None:
        """Forward hook of the same module, also called when it fails."""
        if self._saving is not None:
            self._saving.__exit__(None, None, None)
            self._saving = None

    def reset(self, module: nn.Module, args: tuple) -> tuple | None:
        """Forward pre-hook of the block: forget what an interrupted forward has left.

        It is also where :func:`~cosub_mm.stochastic_depth.copy_batch_late` copies the batch.
        """
        self._rows = self._stream = None
        if self.copies == 1:
            return None
        return (args[0].repeat(self.copies, *[1] * (args[0].ndim - 1)), *args[1:])

    def fold(self, module: nn.Module, args: tuple) -> tuple | None:
        """Forward pre-hook of a stem that is given copies: one of each sample is enough."""
        if self.stem_copies == 1:
            return None
        return (args[0][: len(args[0]) // self.stem_copies], *args[1:])

    def unfold(self, module: nn.Module, args: tuple, output: object) -> object:
        """Forward hook of the same: copy what it returns for each sample."""
        if self.stem_copies == 1:
            return None
        return tree_map(partial(self._copy, len(args[0])), output)

    def _copy(self, rows: int, x: object) -> object:
        if not isinstance(x, Tensor) or x.ndim == 0 or len(x) != rows:
            return x
        return x.repeat(self.stem_copies, *[1] * (x.ndim - 1))

    def check(self, module: nn.Module, args: tuple, output: object) -> None:
        """Forward hook of the block: every branch that was begun must have ended."""
        if self._rows is not None:
            self._rows = self._stream = None
            raise RuntimeError(
                f'{self.block}: a residual branch was begun and its end, {self.path!r}, was not '
                f'reached. The branch is not what it is registered as.'
            )

    def forward(self, x: Tensor) -> Tensor:
        """Residual of the computed rows -> residual of all rows, dropped ones 0."""
        if not self.active:
            return x
        rows, stream = self._take_plan(x)
        if not self._subset:
            return mask_rows(x, rows)
        if stream is None or torch.compiler.is_compiling():
            return put_rows(x, rows)
        return PendingResidual(x, rows, stream)

    def finish(self, module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        """Forward hook of a branch's last module, where no module stands in DropPath's place."""
        return self(output)

    def _may_wait(self) -> bool:
        """Whether nothing but the block itself sees the residual before it joins the stream."""
        return (
            not torch.compiler.is_compiling()
            and torch.is_grad_enabled()
            and not _has_any_global_hook()
            and not any(map(_has_hooks, (self, *self.between)))
        )

    def _draw(self, x: Tensor) -> None:
        self._rows = draw_rows(len(x), self.drop_prob, x.device, self.scale_by_keep)
        if not torch.compiler.is_compiling():
            self._seen += self._rows.batch
            self._kept += self._rows.kept
        elif self._compiled_counts.device == x.device:
            coin = 0 if self._rows.coin is None else self._rows.coin.to(torch.int64)
            self._compiled_counts[0:1].add_(self._rows.batch)
            self._compiled_counts[1:2].add_(self._rows.kept + coin)

    def _apply(self, fn: Callable, recurse: bool = True) -> 'StochasticDepth':
        """Take the counts along when the model moves to another device, and begin anew."""
        super()._apply(fn, recurse)
        self._compiled_counts = fn(self._compiled_counts).zero_()
        return self

    def _take_plan(self, x: Tensor) -> tuple[Rows, Stream | None]:
        if self._rows is None and None in self.starts:
            self._draw(x)
            self._subset = False
        rows, self._rows = self._rows, None
        stream, self._stream = self._stream, None
        if rows is None:
            raise RuntimeError(
                f'{self.block}: the end of a residual branch, {self.path!r}, was reached before '
                f'its start. The branch is not what it is registered as.'
            )
        expected = len(rows.index) if self._subset else rows.batch
        if len(x) != expected:
            raise RuntimeError(
                f'{self.block}: the branch that ends at {self.path!r} was given {expected} of '
                f'{rows.batch} rows and returned {len(x)}: the block reads its batch size before '
                f"the branch starts. Use implementation='mask' for this model, or register the "
                f'block with a later start.'
            )
        return rows, stream

    def tally(self, reset: bool = False) -> Tensor:
        """Rows seen and rows kept since the last reset, int64 (2,), where the counts lie."""
        counts = self._compiled_counts.clone()
        counts += counts.new_tensor((self._seen, self._kept))
        if reset:
            self._seen = self._kept = 0
            self._compiled_counts.zero_()
        return counts

    def extra_repr(self) -> str:
        return f'drop_prob={self.drop_prob:.3f}, implementation={self.implementation!r}'


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._backward_hooks or module._backward_pre_hooks)
