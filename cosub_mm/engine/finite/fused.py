"""Fused optimizers leave out a step themselves: their kernels look at a flag of the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

__all__ = ['LeftOutStep']


class LeftOutStep:
    """A step of torch's fused SGD, Adam or AdamW, which its kernel leaves out where a flag says so.

    Nothing has to be copied and taken back. It is how a GradScaler tells these optimizers of
    overflows: one kernel of theirs takes ``found_inf``, also without a scale.

    Args:
        optimizer: for which :meth:`knows` holds.
        bad: the flag on the device, 1 for a step that is to be left out.
    """

    def __init__(self, optimizer: Optimizer, bad: Tensor) -> None:
        self._optimizer, self._bad = optimizer, bad
        parameters = (p for group in optimizer.param_groups for p in group['params'])
        self._new = [p for p in parameters if p not in optimizer.state]

    @staticmethod
    def knows(optimizer: Optimizer) -> bool:
        """Whether the kernels of all groups look at the flag."""
        return type(optimizer) in (SGD, Adam, AdamW) and all(
            group.get('fused') for group in optimizer.param_groups
        )

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Around the step."""
        self._optimizer.grad_scale = None
        self._optimizer.found_inf = self._bad.to(torch.float32)
        try:
            yield
        finally:
            del self._optimizer.grad_scale, self._optimizer.found_inf

    def on_host(self) -> None:
        """Set the rest back, for a step that was left out: what it has just made.

        SGD's momentum is then memory that nobody has written.
        """
        for parameter in self._new:
            self._optimizer.state.pop(parameter, None)
