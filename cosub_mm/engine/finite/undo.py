"""Take back what a step has written, decided on the device.

Whether a step is to be kept is known to the device long before the host could ask. So the step is
taken, and its results are replaced by what stood there before, where a flag on the device says so.
Tensors are laid end to end for it: the host calls a few operations, however many there are.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import is_

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ['AT_ONCE', 'Copies', 'UndoableStep', 'in_parts', 'local']


AT_ONCE = 2**26
"""Numbers that are laid end to end at once, which takes memory for them: 256 MiB of float32."""


class Copies:
    """Copies of tensors, of which some or all may have to come back.

    Args:
        at_once: numbers that are chosen between at once, which takes a second copy of them.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._layout: _Layout | None = None
        self._before: list[Tensor] = []

    @torch.no_grad()
    def make(self, tensors: Sequence[Tensor]) -> None:
        """Copy tensors that will be written in place, those of a kind by one operation."""
        if self._layout is None or not self._layout.is_of(tensors):
            self._layout = _Layout(tensors, self._at_once)
        self._before = [torch.cat(rows) for rows, _ in self._layout.parts]

    @torch.no_grad()
    def bring_back(self, where: Tensor) -> None:
        """Restore all tensors if ``where`` holds 1, and none if it holds 0.

        Args:
            where: one number on the device; the host does not look at it. The copies are used up.
        """
        copies, self._before = self._before, []
        for (rows, sizes), before in zip(self._layout.parts if copies else (), copies):
            chosen = torch.where(where.to(before.device).bool(), before, torch.cat(rows))
            torch._foreach_copy_(rows, chosen.split(sizes))


class _Layout:
    """Where tensors lie, as rows of memory of a kind, as many as are chosen between at once.

    Hundreds of views are half of what copying costs the host, and are the same in the next step.
    """

    def __init__(self, tensors: Sequence[Tensor], at_once: int) -> None:
        self.tensors, self.addresses = list(tensors), [t.data_ptr() for t in tensors]
        kinds = defaultdict(list)
        for tensor in tensors:
            kinds[tensor.device, tensor.dtype] += _rows(tensor)
        parts = [part for rows in kinds.values() for part in in_parts(rows, at_once)]
        self.parts = [(part, [len(row) for row in part]) for part in parts]

    def is_of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether these are the same tensors, each with its memory (``.data`` may be set)."""
        return (
            len(tensors) == len(self.tensors)
            and all(map(is_, tensors, self.tensors))
            and self.addresses == [tensor.data_ptr() for tensor in tensors]
        )


def _rows(tensor: Tensor) -> list[Tensor]:
    """The memory of a tensor, as views of one dimension: one, unless there are gaps in it."""
    if tensor.is_contiguous():
        return [tensor.view(-1)]
    by_stride = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    tensor = tensor.permute(by_stride)  # channels last, for one, has its own order
    if tensor.is_contiguous():
        return [tensor.view(-1)]
    return [row for part in tensor.unbind() for row in _rows(part)]


def in_parts(tensors: Sequence[Tensor], at_once: int = AT_ONCE) -> Iterator[list[Tensor]]:
    """Tensors in their order, so many at a time that they have ``at_once`` numbers, or one."""
    part, numbers = [], 0
    for tensor in tensors:
        size = tensor.numel()
        if part and numbers + size > at_once:
            yield part
            part, numbers = [], 0
        part.append(tensor)
        numbers += size
    if part:
        yield part


class UndoableStep:
    """An optimizer before its step: parameters, moments, counts.

    Made before the step. :meth:`on_device` takes back what lies on the device, behind the step;
    what the optimizer keeps on the host (counts of steps, states that it has just made) goes back
    by :meth:`on_host`, once the host knows. It must know before the next step.

    For the time of the step, as much memory is needed again as parameters and optimizer states
    take: when the activations are already gone.

    Args:
        optimizer: one of torch's, also one that shards its states (``optim`` is then the inner
            one).
        bad: the flag on the device, 1 for a step that is to be taken back.
        copies: to make them with, those of the last step: most of its tensors are the same.
    """

    def __init__(self, optimizer: Optimizer, bad: Tensor, copies: Copies) -> None:
        self._bad, self._copies = bad, copies
        parts = [optimizer, *filter(None, [getattr(optimizer, 'optim', None)])]
        trained = _trained(optimizer)
        self._settings = [_Settings(group) for part in parts for group in part.param_groups]
        self._states = [_States(part.state, trained) for part in parts]
        kept = [tensor for states in self._states for tensor in states.tensors()]
        copies.make([local(t) for t in (*trained, *(t for t in kept if t.device == bad.device))])
        self._elsewhere = [(t, t.clone()) for t in kept if t.device != bad.device]

    @contextmanager
    def on_device(self) -> Iterator[None]:
        """Around the step: take it back if the flag says so."""
        yield
        self._copies.bring_back(self._bad)
        for settings in self._settings:
            settings.note_changes()

    def on_host(self) -> None:
        """Set the rest back, for a step that was taken back."""
        for part in (*self._settings, *self._states):
            part.set_back()
        for tensor, before in self._elsewhere:
            tensor.copy_(before)


class _States:
    """What an optimizer keeps of its parameters: nobody else writes it between two steps."""

    def __init__(self, state: dict, parameters: list[Tensor]) -> None:
        self._state, self._parameters = state, parameters
        self._before = [dict(state[p]) if p in state else None for p in parameters]

    def tensors(self) -> list[Tensor]:
        entries = filter(None, self._before)
        return [v for values in entries for v in values.values() if torch.is_tensor(v)]

    def set_back(self) -> None:
        for parameter, before in zip(self._parameters, self._before):
            if before is None:
                self._state.pop(parameter, None)
            else:
                now = self._state[parameter]
                now.clear()
                now.update(before)


class _Settings:
    """The settings of a parameter group, and which of them its step changes (a count of steps).

    Others change as well, between two steps (a schedule sets the learning rate): those stay.
    """

    def __init__(self, group: dict) -> None:
        self._group = group
        self._before = {k: v for k, v in group.items() if k != 'params'}
        self._copies = {k: v.clone() for k, v in self._before.items() if torch.is_tensor(v)}
        self._versions = {k: self._before[k]._version for k in self._copies}
        self._changed: list[str] = []
        self._added: list[str] = []

    def note_changes(self) -> None:
        for name, value in self._before.items():
            now = self._group.get(name)
            written = name in self._copies and value._version != self._versions[name]
            if written or (now is not value and (torch.is_tensor(value) or now != value)):
                self._changed.append(name)
        self._added = [k for k in self._group if k not in self._before and k != 'params']

    def set_back(self) -> None:
        for name in self._added:
            self._group.pop(name, None)
        for name in self._changed:
            self._group[name] = self._before[name]
            if name in self._copies:
                self._before[name].copy_(self._copies[name])


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is spread over several."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


def _trained(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
