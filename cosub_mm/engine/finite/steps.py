"""Look at loss and gradients of each step, and leave out a step in which one is no number."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch._utils import _flatten_dense_tensors
from torch.optim import Optimizer

from ..answer import Answer
from .fused import LeftOutStep
from .undo import Copies, UndoableStep, in_parts, local

__all__ = ['NonFiniteLossError', 'Step', 'StepWatch', 'watch', 'watches']

# A scaler that starts at 65536 has halved itself to 1 after 16 of them.
OVERFLOWS_IN_A_ROW = 40


class NonFiniteLossError(ValueError):
    """Losses or gradients became infinite or not a number, step after step."""


@dataclass
class Step:
    """A step of the optimizer, of one or (gathering gradients) several batches.

    Attributes:
        losses: of its batches, scalars on the device.
        batches: what the hook wants to know of its batches later.
        norm: of the gradients before clipping; None under a loss scaler.
        in_parts: whether each process has rows of the gradients, and ``norm`` is that of its own.
        bad: on the device, 1 if a loss or gradient of any process is no number.
    """

    losses: list[Tensor] = field(default_factory=list)
    batches: list[Any] = field(default_factory=list)
    norm: Tensor | None = None
    in_parts: bool = False
    bad: Tensor | None = None
    undo: UndoableStep | LeftOutStep | None = None


class StepWatch:
    """Skip the steps of an optimizer wrapper that are no numbers, in all processes alike.

    A step asks by one reduction of one number whether the loss or the norm of the gradients is
    infinite or not a number in any process. The answer stays on the device, as reading it there
    would let the device run dry behind every backward pass: the step is taken and, on the device,
    taken back where it is bad (:class:`.UndoableStep`), bit by bit, or left out there by kernels
    that can (:class:`.LeftOutStep`). The host reads the answer when the device has long had it, at
    the latest before the optimizer's next step, and then sets back what the optimizer counts. Under
    a GradScaler, which asks the device in any case, a bad loss makes a gradient infinite and the
    scaler leaves the step out; gradients that overflow with a finite loss are its business and no
    fault, unless it finds nothing else 40 times in a row.

    Args:
        report: called with each :class:`Step` that was left out, and how many in a row.
        stop_after: so many in a row end the training.
    """

    def __init__(self, report: Callable[[Step, int], None], stop_after: int) -> None:
        self.report, self.stop_after = report, stop_after
        self.in_a_row = self.taken = self.overflows = 0
        self.current = Step()
        self._last: Step | None = None
        self._answer = Answer()
        self._copies, self._norms = Copies(), Copies()

    def begin(self, batch: Any, norms: list[Tensor]) -> None:
        """Before a forward pass.

        Args:
            batch: goes into ``batches`` of the step.
            norms: running statistics, which the forward pass of a bad step must not change.
        """
        if not self.current.batches:
            self._norms.make(norms)
        self.current.batches.append(batch)

    def take(self, wrapper: OptimWrapper, take: Callable[[], None]) -> None:
        """Take the step of a wrapper, or have it left out.

        Raises:
            NonFiniteLossError: too many in a row.
        """
        self.settle()
        step, self.current = self.current, Step()
        optimizer = wrapper.optimizer
        parameters = [p for group in optimizer.param_groups for p in group['params']]
        found = [p.grad for p in parameters if p.grad is not None]
        grads = [local(grad) for grad in found]
        step.in_parts = any(mine is not grad for mine, grad in zip(grads, found))
        scaler = getattr(wrapper, 'loss_scaler', None)
        scaler = scaler if scaler is not None and scaler.is_enabled() else None
        _ask(step, grads, scaler is not None)
        if scaler is None:
            if LeftOutStep.knows(optimizer) and not step.in_parts:
                step.undo = LeftOutStep(optimizer, step.bad)
            else:
                step.undo = UndoableStep(optimizer, step.bad, self._copies)
            with step.undo.on_device():
                take()
        else:
            self._take_scaled(optimizer, grads, step.bad, take)
        self._norms.bring_back(step.bad)
        self._answer.request(step.bad)
        self._last = step

    def settle(self) -> None:
        """Read whether the last step was bad; set back what the host counts, and report it.

        Raises:
            NonFiniteLossError: too many in a row.
        """
        step, self._last = self._last, None
        if step is None:
            return
        if not self._answer.read():
            self.in_a_row, self.taken = 0, self.taken + 1
            return
        if step.undo is not None:
            step.undo.on_host()
        self.in_a_row += 1
        self.report(step, self.in_a_row)
        if self.in_a_row >= self.stop_after:
            raise NonFiniteLossError(
                f'{self.in_a_row} steps in a row had a loss or gradient that is no number, and '
                f'were left out. The weights are those before them. {_ADVICE}'
            )

    def finish(self) -> None:
        """At the end of a training.

        Raises:
            NonFiniteLossError: none of its steps was taken.
        """
        self.settle()
        if self.in_a_row and not self.taken:
            raise NonFiniteLossError(
                f'All {self.in_a_row} steps of this training had a loss or gradient that is no '
                f'number: nothing has been trained. {_ADVICE}'
            )

    def _take_scaled(self, optimizer, grads: list[Tensor], bad: Tensor, take: Callable) -> None:
        stepped = []
        if grads:
            first = grads[0].view(-1)[:1]
            infinite = torch.full_like(first, torch.inf)
            first.copy_(torch.where(bad.to(first.device).bool(), infinite, first))
        handle = optimizer.register_step_post_hook(lambda *_: stepped.append(True))
        try:
            take()
        finally:
            handle.remove()
        self.overflows = 0 if stepped else self.overflows + 1
        if self.overflows > OVERFLOWS_IN_A_ROW:
            raise NonFiniteLossError(
                f'The gradients overflowed {self.overflows} times in a row, although the scale of '
                f'the loss was halved each time: they are no numbers at any scale. {_ADVICE}'
            )


_ADVICE = (
    'Lower the learning rate, lengthen the warm-up, look at the batches with '
    'tools/analysis_tools/replay_batch.py, or train with --amp bf16 or without --amp; then go on '
    'from the last checkpoint with --resume.'
)


def _ask(step: Step, grads: list[Tensor], scaled: bool) -> None:
    """Set ``bad`` and ``norm`` of a step; one reduction over the processes."""
    checked = list(step.losses)
    if grads and not scaled:
        step.norm = _norm(grads)
        checked.append(step.norm)
    device = grads[0].device if grads else checked[0].device
    finite = torch.stack([value.to(device).isfinite().all() for value in checked]).all()
    step.bad = (~finite).to(torch.int32)
    if get_world_size() > 1:
        all_reduce(step.bad, op='max')


def _norm(grads: list[Tensor]) -> Tensor:
    """Norm of all gradients, in at least float32.

    They are laid end to end: torch's own asks tensor by tensor, at four times the host's time.
    """
    kinds = Optimizer._group_tensors_by_device_and_dtype([grads])
    double = any(dtype in (torch.float64, torch.complex128) for _, dtype in kinds)
    norms = []
    for (_, dtype), ((together,), _) in kinds.items():
        if dtype.is_complex:
            together = [torch.view_as_real(grad) for grad in together]
        norms += [
            torch.linalg.vector_norm(
                _flatten_dense_tensors(part), dtype=torch.float64 if double else torch.float32
            )
            for part in in_parts(together)
        ]
    first, *others = norms
    return torch.stack([first, *(n.to(first.device) for n in others)]).norm() if others else first


def watch(optim_wrapper: OptimWrapper, step_watch: StepWatch) -> None:
    """Let a watch look at each step of a wrapper, whatever its class, from now on.

    Methods of the object are replaced, as mmengine's schedules do to count steps: a subclass would
    be passed over by theirs.

    Args:
        optim_wrapper: its earlier watch, if it has one, is relieved.
        step_watch: one for each wrapper.
    """
    relieved = hasattr(optim_wrapper, 'step_watch')
    optim_wrapper.step_watch = step_watch
    if relieved:
        return
    update_params, step = optim_wrapper.update_params, optim_wrapper.step

    @wraps(update_params)
    def note_and_update(loss: Tensor, *args, **kwargs) -> None:
        optim_wrapper.step_watch.current.losses.append(loss.detach())
        update_params(loss, *args, **kwargs)

    @wraps(step)
    def watched_step(**kwargs) -> None:
        optim_wrapper.step_watch.take(optim_wrapper, partial(step, **kwargs))

    optim_wrapper.update_params, optim_wrapper.step = note_and_update, watched_step


def watches(optim_wrapper: OptimWrapper) -> list[StepWatch]:
    """The watches of a wrapper, or of those in a dict of wrappers."""
    wrappers = optim_wrapper.values() if hasattr(optim_wrapper, 'values') else [optim_wrapper]
    return [w.step_watch for w in wrappers if hasattr(w, 'step_watch')]
