"""Take back what a step has written, decided on the device.

Whether a step is to be kept is known to the device long before the host could ask. So the step is
taken, and its results are replaced by what stood there before, where a flag on the device says so.
Multiplying by 0 would not do: 0 times NaN is NaN. The bits of a number times 0 are 0, whatever it
was, so that the choice between two tensors is made on their bits, exactly.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ['Copies', 'UndoableStep', 'local']

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Copies:
    """Copies of tensors, of which some or all may have to come back.

    Args:
        tensors: that will be written in place. Tensors of a kind are copied by one operation.
    """

    @torch.no_grad()
    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._sets: list[tuple[list[Tensor], list[Tensor]]] = []
        kinds = defaultdict(list)
        for tensor in tensors:
            kinds[tensor.device, tensor.element_size()].append(tensor)
        for (_, size), now in kinds.items():
            now = [tensor.view(_BITS[size]) for tensor in now]
            self._sets.append((now, list(torch._foreach_mul(now, 1))))  # new memory in one call

    @torch.no_grad()
    def bring_back(self, where: Tensor) -> None:
        """Restore all tensors if ``where`` holds 1, and none if it holds 0.

        Args:
            where: one number on the device; the host does not look at it. The copies are used up.
        """
        for now, before in self._sets:
            undo = where.to(device=now[0].device, dtype=now[0].dtype)
            torch._foreach_mul_(now, 1 - undo)
            torch._foreach_mul_(before, undo)
            torch._foreach_add_(now, before)
        self._sets = []


class UndoableStep:
    """An optimizer before its step: parameters, moments, counts.

    Made before the step. :meth:`on_device` behind the step takes back what lies on the device;
    what the optimizer keeps on the host (counts of steps, states that it has just made) goes back
    by :meth:`on_host`, once the host knows. It must know before the next step.

    For the time of the step, as much memory is needed again as parameters and optimizer states
    take: when the activations are already gone.

    Args:
        optimizer: one of torch's, also one that shards its states (``optim`` is then the inner
            one).
        bad: the flag on the device, 1 for a step that is to be taken back.
    """

    def __init__(self, optimizer: Optimizer, bad: Tensor) -> None:
        self._bad = bad
        parts = [optimizer, *filter(None, [getattr(optimizer, 'optim', None)])]
        self._groups = [_Entries(group, None) for part in parts for group in part.param_groups]
        self._states = [(part.state, p) for part in parts for p in _trained(optimizer)]
        self._entries = [
            _Entries(state[p], bad.device) if p in state else None for state, p in self._states
        ]
        on_device = [local(p) for p in _trained(optimizer)]
        for entries in filter(None, self._entries):
            on_device += [t for t in entries.tensors() if t.device == bad.device]
        self._copies = Copies(t for t in on_device if t.numel())

    def on_device(self) -> None:
        """Behind the step: take it back if the flag says so."""
        self._copies.bring_back(self._bad)
        for entries in [*self._groups, *filter(None, self._entries)]:
            entries.note_changes()

    def on_host(self) -> None:
        """Set the rest back, for a step that was taken back."""
        for entries in [*self._groups, *filter(None, self._entries)]:
            entries.set_back()
        for (state, parameter), entries in zip(self._states, self._entries):
            if entries is None:
                state.pop(parameter, None)


class _Entries:
    """The values of a dict of an optimizer, and which of them its step changes.

    Others change as well, between two steps (a schedule sets the learning rate): those stay.
    """

    def __init__(self, values: dict, device: torch.device | None) -> None:
        # Tensors on ``device`` are taken back there.
        self._values = values
        self._before = {k: v for k, v in values.items() if k != 'params'}
        tensors = {k: v for k, v in self._before.items() if torch.is_tensor(v)}
        self._versions = {k: v._version for k, v in tensors.items()}
        self._on_host = {k: v.clone() for k, v in tensors.items() if v.device != device}
        self._changed: list[str] = []
        self._added: list[str] = []

    def tensors(self) -> Iterator[Tensor]:
        return (local(value) for value in self._before.values() if torch.is_tensor(value))

    def note_changes(self) -> None:
        for name, value in self._before.items():
            now = self._values.get(name)
            written = name in self._versions and value._version != self._versions[name]
            if written or (now is not value and (torch.is_tensor(value) or now != value)):
                self._changed.append(name)
        self._added = [k for k in self._values if k not in self._before and k != 'params']

    def set_back(self) -> None:
        for name in self._added:
            self._values.pop(name, None)
        for name in self._changed:
            self._values[name] = self._before[name]
            if name in self._on_host:
                self._before[name].copy_(self._on_host[name])


def local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is spread over several."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


def _trained(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
