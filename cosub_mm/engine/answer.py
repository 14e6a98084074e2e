"""A number on its way from the device to the host."""

import torch
from torch import Tensor

__all__ = ['Answer']


class Answer:
    """Asked for when it is made, read when the device has long had it: no wait in between."""

    def __init__(self) -> None:
        self._copy: Tensor | None = None
        self._arrived = None

    def request(self, number: Tensor) -> None:
        """Let one number be brought.

        Args:
            number: a tensor that holds it.
        """
        if number.device.type != 'cuda':
            self._copy = number
            return
        self._copy = torch.empty_like(number, device='cpu', pin_memory=True)
        self._copy.copy_(number, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def read(self) -> int:
        """The number; waits for its arrival and for nothing that was given to the device since."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return int(self._copy.cpu().reshape(()).numpy())
