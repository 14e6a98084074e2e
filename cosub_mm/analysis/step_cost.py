"""Time and memory of a training step, measured."""

import logging
import multiprocessing
import re
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData

__all__ = ['StepCost', 'measure_segmentation_step']


class StepCost(NamedTuple):
    """Cost of one training step.

    Attributes:
        seconds: median over the steps: of the processor time on a CPU, where other programs run
            beside it, of the elapsed time on a GPU.
        peak_bytes: memory that training needs at its peak: resident memory of the process beyond
            what it had before the first step on a CPU, allocated memory on a GPU.
    """

    seconds: float
    peak_bytes: int


def measure_segmentation_step(
    cfg: Config, batch: int, crop: int, steps: int, device: str
) -> StepCost:
    """Train a segmentor for some steps on random images, in a process of its own.

    Args:
        cfg: config of the segmentor; its weights are not loaded.
        batch: images a step.
        crop: side of the images in pixels.
        steps: measured steps, after one that warms up.
        device: ``'cpu'`` or ``'cuda'``.

    Raises:
        RuntimeError: the process failed, e.g. for lack of memory.
    """
    # Peak memory is that of a process, and allocators keep what they once had.
    context = multiprocessing.get_context('spawn')
    with context.Pool(1) as pool:
        return pool.apply(_measure, (cfg.to_dict(), batch, crop, steps, device))


def _measure(cfg: dict, batch: int, crop: int, steps: int, device: str) -> StepCost:
    import cosub_mm  # noqa: F401  (registers in the new process)

    logging.disable(logging.WARNING)  # how every parameter was initialised
    cfg = Config(cfg)
    init_default_scope('mmseg')
    cfg.model.backbone.pop('init_cfg', None)
    cfg.model.data_preprocessor.size = (crop, crop)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model = (model if device == 'cuda' else revert_sync_batchnorm(model)).to(device).train()
    model.init_weights()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    data = _random_batch(batch, crop, model.num_classes)
    before = _memory(device, peak=False)
    seconds = []
    for step in range(steps + 1):
        start = _clock(device)
        model.train_step(data, wrapper)
        if step:
            seconds.append(_clock(device) - start)
    return StepCost(statistics.median(seconds), _memory(device, peak=True) - before)


def _random_batch(batch: int, crop: int, num_classes: int) -> dict:
    from mmseg.structures import SegDataSample

    samples = []
    for _ in range(batch):
        mask = torch.randint(num_classes, (1, crop, crop))
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=mask)))
        samples[-1].set_metainfo(dict(img_shape=(crop, crop)))
    images = [torch.randint(256, (3, crop, crop), dtype=torch.uint8) for _ in range(batch)]
    return dict(inputs=images, data_samples=samples)


def _clock(device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def _memory(device: str, peak: bool) -> int:
    if device == 'cuda':
        return torch.cuda.max_memory_allocated() if peak else 0
    try:
        # getrusage would count what the parent held, which the process had before it was started.
        status = Path('/proc/self/status').read_text()
        return int(re.search(r'^VmHWM:\s+(\d+) kB', status, re.MULTILINE)[1]) * 1024
    except OSError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == 'darwin' else used * 1024
