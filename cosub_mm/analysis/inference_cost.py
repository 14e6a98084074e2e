"""What predicting costs: images a second and peak memory (paper, Tables 11 and 12)."""

import gc
import re
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .measure import Step, peak_bytes, precision

__all__ = ['InferenceCost', 'measure_inference']

SPARE = 0.6  # of the memory that is free, what a batch may take on a CPU


class InferenceCost(NamedTuple):
    """Cost of predictions.

    Attributes:
        batch: images at once, those asked for or the most that fit.
        images_per_second: median over the rounds.
        peak_bytes: beyond weights and images on a CPU; all that is allocated on a GPU, weights
            included, as the paper measures it.
    """

    batch: int
    images_per_second: float
    peak_bytes: int


class _Forward(Step):
    """A step that only predicts."""

    def __call__(self, clock=time.perf_counter) -> tuple[float, float]:
        start = self._now(clock)
        self.forward()
        return self._now(clock) - start, 0.0


@torch.inference_mode()
def measure_inference(
    model: nn.Module, shape: tuple[int, int], batch: int, device: str, rounds: int = 5
) -> InferenceCost:
    """Predict random images; mixed precision (fp16) on a GPU, as in the paper, fp32 on a CPU.

    Args:
        model: a classifier, on the device, in evaluation mode.
        shape: height and width of the images.
        batch: images at once; halved until they fit.
        device: ``'cpu'`` or ``'cuda'``.
        rounds: timed passes, behind one that warms up.

    Raises:
        RuntimeError: not even one image fits.
    """
    dtype = torch.float16 if device == 'cuda' else torch.float32
    if device == 'cpu':
        batch = min(batch, _fitting(model, shape))
    while batch:
        try:
            return _measure(model, shape, batch, torch.device(device), dtype, rounds)
        except torch.OutOfMemoryError:
            batch //= 2
            gc.collect()
            torch.cuda.empty_cache()
    raise RuntimeError('not even one image fits into the memory of the device.')


def _measure(model, shape, batch, device, dtype, rounds) -> InferenceCost:
    images = torch.randn(batch, 3, *shape, device=device)
    step = _Forward(lambda: _predict(model, images, device, dtype), [], device)
    step()
    before = torch.cuda.memory_allocated(device) if device.type == 'cuda' else 0
    peak = before + peak_bytes(step, step.device)
    seconds = median(step()[0] for _ in range(rounds))
    return InferenceCost(batch, batch / seconds, peak)


def _predict(model: nn.Module, images: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    with precision(device, dtype):
        return model(images, mode='tensor')


def _fitting(model: nn.Module, shape: tuple[int, int]) -> int:
    """Images that the free memory of the machine holds, reckoned from two; a power of 2."""
    device = torch.device('cpu')
    images = torch.randn(2, 3, *shape)
    step = _Forward(lambda: _predict(model, images, device, torch.float32), [], device)
    each = (peak_bytes(step, step.device) + images.nbytes) / 2
    try:
        text = Path('/proc/meminfo').read_text()
        free = int(re.search(r'^MemAvailable:\s+(\d+) kB', text, re.MULTILINE)[1]) * 1024
    except (OSError, TypeError):
        return 256
    most = int(SPARE * free / each)
    return 1 << max(most.bit_length() - 1, 0)
