"""Numbers for the log that stay on the device until somebody reads them.

mmengine asks the device for each of them in each step (``.item()``), which waits until all work
that was given to it is done: a GPU then stands idle until the host has sent it the next.
"""

from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim import OptimWrapper
from torch import Tensor

__all__ = ['LateHistory', 'keep_norm_on_device', 'keep_scalars_on_device']

PENDING = 1000  # more would be memory, where nobody logs


class LateHistory(HistoryBuffer):
    """A history whose latest entries are brought to the host when they are read.

    All values are those that mmengine's would hold. What is copied or pickled is mmengine's own.
    """

    def __init__(self, *args, **kwargs) -> None:
        self._pending: list[tuple[Tensor | float, int]] = []
        super().__init__(*args, **kwargs)

    @property
    def _log_history(self) -> np.ndarray:
        self.settle()
        return self._values

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def _count_history(self) -> np.ndarray:
        self.settle()
        return self._counts

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._counts = counts

    def update(self, log_val: Tensor | float, count: int = 1) -> None:
        """Add an entry.

        Args:
            log_val: a number, or a tensor that holds one.
            count: what it counts for in a mean.
        """
        if isinstance(log_val, Tensor):
            log_val = log_val.detach()
        self._pending.append((log_val, count))
        if len(self._pending) >= PENDING:
            self.settle()

    def current(self) -> float:
        """The last entry."""
        if self._pending and not isinstance(self._pending[-1][0], Tensor):
            return self._pending[-1][0]
        return super().current()

    def settle(self) -> None:
        """Bring the entries to the host; it waits for the device once."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        values = _on_host([value for value, _ in pending])
        counts = [count for _, count in pending]
        if len(self._values):
            values, counts = np.append(self._values, values), np.append(self._counts, counts)
        self._values = np.array(values[-self.max_length :])
        self._counts = np.array(counts[-self.max_length :])

    def __reduce__(self) -> tuple:
        values, counts = self.data
        return HistoryBuffer, (values.copy(), counts.copy(), self.max_length)


def keep_scalars_on_device(hub: MessageHub) -> None:
    """Let a message hub take tensors without a look at them.

    The object that mmengine has handed out is changed: many know it already.
    """
    hub.update_scalar = partial(_update_scalar, hub)


def keep_norm_on_device(wrapper: OptimWrapper) -> None:
    """Let an optimizer wrapper hand the norm of the gradients on as it is; mmengine's reads it."""
    wrapper._clip_grad = partial(_clip_grad, wrapper)


def _update_scalar(
    hub: MessageHub, key: str, value: Any, count: int = 1, resumed: bool = True
) -> None:
    late = isinstance(value, Tensor) and value.numel() == 1
    number = isinstance(value, (int, float))
    if not isinstance(count, int) or not (late or number):  # what it takes otherwise, it checks
        MessageHub.update_scalar(hub, key, value, count, resumed)
        return
    hub._set_resumed_keys(key, resumed)
    scalars = hub.log_scalars
    history = scalars.get(key)
    if not isinstance(history, LateHistory):
        history = LateHistory() if history is None else LateHistory(*history.data)
        scalars[key] = history
    history.update(value, count)


def _clip_grad(wrapper: OptimWrapper) -> None:
    parameters = [
        p
        for group in wrapper.optimizer.param_groups
        for p in group['params']
        if p.requires_grad and p.grad is not None
    ]
    if not parameters:
        return
    norm = wrapper.clip_func(parameters, **wrapper.clip_grad_kwargs)
    if norm is None:  # clipped by value
        return
    if hasattr(norm, 'full_tensor'):  # of gradients that are spread over processes
        norm = norm.full_tensor()
    wrapper.message_hub.update_scalar(f'train/{wrapper.grad_name}', norm)


def _on_host(values: list[Tensor | float]) -> list[float]:
    """Numbers; tensors of a kind are brought together."""
    kinds: dict[tuple, list[int]] = {}
    for i, value in enumerate(values):
        if isinstance(value, Tensor):
            kinds.setdefault((value.device, value.dtype), []).append(i)
    numbers = list(values)
    for places in kinds.values():
        together = torch.stack([values[i].reshape(()) for i in places]).tolist()
        for i, number in zip(places, together):
            numbers[i] = number
    return numbers
