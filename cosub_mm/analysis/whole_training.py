"""Images a second of a whole training: tools/train.py, and timm's parts in a loop by hand."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from cosub_mm.launch.errors import UserError

__all__ = ['WINDOW', 'by_timm', 'images_a_second', 'make_images', 'ours']

ROOT = Path(__file__).parents[2]
WINDOW = 10
"""Iterations of which each time is the mean, as in the log of a training."""


def make_images(root: Path, images: int, classes: int = 1000, side: int = 500) -> None:
    """Make JPEGs of photographs' size below ``train`` and ``val``, in folders of classes.

    They are smooth noise, of about 70 kB at 500 pixels; ``val`` has one a class. What is there
    already is kept.
    """
    done = root / f'{images}_{classes}_{side}'
    if done.exists():
        return
    rng = np.random.default_rng(0)
    for number in range(images + classes):
        part, label = ('train', number % classes) if number < images else ('val', number - images)
        folder = root / part / f'n{label:08d}'
        folder.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        size = (side, side * 3 // 4)
        smooth = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
        grain = rng.normal(0, 8, smooth.shape)
        picture = (smooth + grain).clip(0, 255).astype(np.uint8)
        Image.fromarray(picture).save(folder / f'{number}.jpg', quality=90)
    done.touch()


def ours(
    config: str, root: Path, work_dir: Path, windows: int, bf16: bool, options: Sequence[str]
) -> list[float]:
    """Train by ``tools/train.py`` until its log has so many lines, and stop it.

    Args:
        config: path from the root of the repository.
        root: of :func:`make_images`.
        work_dir: of the training; what it holds is overwritten.
        windows: lines of the log, of ten iterations each.
        bf16: train with ``--amp bf16``.
        options: more of ``--cfg-options``.

    Returns:
        Seconds of an iteration, means of ten, the first third left out.

    Raises:
        UserError: the training ended before.
    """
    settings = [
        f'default_hooks.logger.interval={WINDOW}',
        f'log_processor.window_size={WINDOW}',
        'auto_scale_lr=None',  # the learning rate does not matter
        *options,
    ]
    tool = [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / config)]
    folders = ['--data-root', str(root), '--work-dir', str(work_dir), '--overwrite']
    precision = ['--amp', 'bf16'] * bf16
    command = [*tool, *folders, *precision, '--cfg-options', *settings]
    work_dir.mkdir(parents=True, exist_ok=True)
    earlier, times = {*work_dir.glob('*')}, []
    with open(work_dir / 'printed.txt', 'w+') as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        try:
            while len(times) < windows:
                ended = process.poll() is not None
                logs = [f for f in work_dir.glob('*/vis_data/scalars.json') if f.exists()]
                times = [t for log in logs if log.parents[1] not in earlier for t in _times(log)]
                if ended and len(times) < windows:
                    printed.seek(0)
                    raise UserError(
                        f'tools/train.py ended after {len(times)} of {windows} lines of its log: '
                        f'{printed.read()[-1500:]}'
                    )
                time.sleep(0.5)
        finally:
            process.terminate()
            process.wait()
    return _settled(times[:windows])


def _times(log: Path) -> list[float]:
    whole = [line for line in log.read_text().splitlines() if line.endswith('}')]
    entries = map(json.loads, whole)
    return [entry['time'] for entry in entries if 'loss' in entry]


def by_timm(
    name: str,
    root: Path,
    batch_size: int,
    workers: int,
    rate: float,
    windows: int,
    device: str,
) -> list[float]:
    """Train by cosub as one would by hand with timm.

    timm's loader (with its prefetcher on a GPU), 3-Augment, mixup or cutmix, DropPath, bfloat16,
    ``Lamb(foreach=True)``, two copies of each image.

    Args:
        name: of the model there.
        root: of :func:`make_images`.
        batch_size: images an iteration.
        workers: loading processes.
        rate: drop rate of every branch.
        windows: ten iterations each.
        device: ``'cpu'`` or ``'cuda'``.

    Returns:
        As :func:`ours`.
    """
    import timm
    from timm.data import Mixup, create_dataset, create_loader
    from timm.optim import Lamb

    from cosub_mm.analysis.depth.references import put_drop_path
    from cosub_mm.losses import cosub_loss

    on_cuda = device == 'cuda'
    model = timm.create_model(name)
    put_drop_path(model, rate)
    model.to(device).train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [dict(params=decayed), dict(params=others, weight_decay=0.0)]
    optimizer = Lamb(groups, lr=1e-4, foreach=True)
    loader = create_loader(
        create_dataset('', str(root), split='train'),
        input_size=model.pretrained_cfg['input_size'],
        batch_size=batch_size,
        is_training=True,
        auto_augment='3a',
        num_workers=workers,
        use_prefetcher=on_cuda,
        device=torch.device(device),
    )
    mix = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=1000, label_smoothing=0.0)
    seconds, start = [], time.perf_counter()
    for number, (images, labels) in enumerate(loader, 1):
        images, target = mix(images.to(device), labels.to(device))
        with torch.autocast(device, torch.bfloat16) if on_cuda else nullcontext():
            scores = model(torch.cat((images, images)))
        scores = scores.float().unflatten(0, (2, -1))
        loss = sum(cosub_loss(scores, (target > 0).float()).values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if number % WINDOW == 0:
            loss.item()
            seconds.append((time.perf_counter() - start) / WINDOW)
            start = time.perf_counter()
        if len(seconds) == windows:
            break
    return _settled(seconds)


def _settled(seconds: list[float]) -> list[float]:
    if not seconds:
        raise UserError(f'an epoch has fewer than {WINDOW} iterations: make more --images')
    return seconds[len(seconds) // 3 :]


def images_a_second(seconds: list[float], batch_size: int) -> float:
    """Of the median iteration."""
    return batch_size / median(seconds)
