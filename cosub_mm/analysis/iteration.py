"""Host time of a whole training iteration: ours through the Runner, and the same step by hand."""

import contextlib
import logging
import random
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmpretrain.structures import DataSample
from timm.data import Mixup
from timm.layers import DropPath
from timm.optim import Lamb
from torch.utils.data import Dataset

from cosub_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from cosub_mm.engine.hooks.gradient_hook import GradientHook
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.interruption import StopHook, StopSignals
from cosub_mm.launch.isolation import own_instances

from .measure import median

__all__ = ['PARTS', 'classification', 'table']

PARTS = ('preprocessing', 'forward and loss', 'backward', 'optimizer', 'hooks and the rest')
_CLASSES, _SIZE, _DEPTH, _RATE = 10, 32, 12, 0.25
_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@DATASETS.register_module()
class NoImages(Dataset):
    """Stands in a config where the benchmark hands over the batches."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict:
        return {}


class _Parts:
    """Processor time, by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.now: dict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def __call__(self, part: str):
        start = time.process_time()
        try:
            yield
        finally:
            self.now[part] += time.process_time() - start

    def watch(self, owner: object, name: str, part: str) -> None:
        """Count the time of a method for a part."""
        method = getattr(owner, name)

        def timed(*args, **kwargs):
            with self(part):
                return method(*args, **kwargs)

        object.__setattr__(owner, name, timed)

    def iteration(self, call: Callable[[], None]) -> None:
        """Run one iteration; what no part has is the rest."""
        self.now.clear()
        start = time.process_time()
        call()
        total = time.process_time() - start
        for part in PARTS[:-1]:
            self.seconds[part].append(self.now[part])
        self.seconds[PARTS[-1]].append(total - sum(self.now[part] for part in PARTS[:-1]))
        self.seconds['all'].append(total)


def classification(rounds: int, warmup: int, images: int = 64) -> dict[str, dict[str, list[float]]]:
    """Time a cosub step of a ViT of 12 blocks and 8 channels, with mixup or cutmix, both ways.

    One thread, in turns, in random order within a round. Loading is left out on both sides.

    Args:
        rounds: how many to time.
        warmup: rounds before.
        images: images a batch.

    Returns:
        Seconds of each round, by way and part.
    """
    warnings.simplefilter('ignore')
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (images, 3, _SIZE, _SIZE), generator=generator)
    inputs = inputs.to(torch.uint8)
    labels = torch.randint(0, _CLASSES, (images,), generator=generator)
    try:
        with tempfile.TemporaryDirectory() as folder, own_instances(), StopSignals() as signals:
            ways = {
                'ours': _ours(Path(folder), signals, inputs, labels),
                'by hand on timm': _by_hand(inputs, labels),
            }
            order = random.Random(0)
            for number in range(warmup + rounds):
                for name in order.sample(list(ways), len(ways)):
                    parts, batch, step = ways[name]
                    parts.iteration(partial(step, batch()))
                if number + 1 == warmup:
                    for parts, *_ in ways.values():
                        parts.seconds.clear()
            return {name: dict(parts.seconds) for name, (parts, *_) in ways.items()}
    finally:
        torch.set_num_threads(threads)


def table(times: dict[str, dict[str, list[float]]]) -> str:
    """Milliseconds by part, least and median, and the ratio of the first way to the second."""
    first, second = times
    head = f'| part | {first}, least | median | {second}, least | median | ratio of medians |'
    lines = [head, '|---|---|---|---|---|---|']
    for part in (*PARTS, 'all'):
        a, b = times[first][part], times[second][part]
        values = [min(a), median(a), min(b), median(b)]
        cells = [f'{1e3 * value:.2f}' for value in values]
        ratio = f'{median(a) / median(b):.2f}' if part != PARTS[-1] else ''
        lines.append(f'| {part} | {" | ".join(cells)} | {ratio} |')
    return '\n'.join(lines)


def _ours(folder: Path, signals: StopSignals, inputs, labels) -> tuple[_Parts, Callable, Callable]:
    width = dict(embed_dims=8, num_layers=_DEPTH, num_heads=2, feedforward_channels=32)
    cfg = Config(
        dict(
            model=dict(
                type='mmpretrain.CosubClassifier',
                backbone=dict(
                    type='CosubViT', arch=width, img_size=_SIZE, layer_scale_init_value=1e-4
                ),
                head=dict(type='LinearClsHead', num_classes=_CLASSES, in_channels=8),
                drop_path_rate=_RATE,
                train_cfg=dict(
                    augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
                    probs=[0.5, 0.5],
                ),
                data_preprocessor=dict(num_classes=_CLASSES, mean=_MEAN, std=_STD, to_rgb=True),
            ),
            work_dir=str(folder),
            train_dataloader=dict(
                dataset=dict(type='mmengine.NoImages'),
                batch_size=len(labels),
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=False),
            ),
            optim_wrapper=dict(optimizer=dict(type='CosubLamb', lr=1e-3, eps=1e-8)),
            train_cfg=dict(by_epoch=True, max_epochs=10**6),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=50)),
            custom_hooks=[dict(type='EfficientDropPathHook')],
            default_scope='mmpretrain',
            randomness=dict(seed=0),
            log_level='ERROR',
        )
    )
    with open('/dev/null', 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        runner = CosubRunner.from_cfg(cfg)
        for hook in (FiniteLossHook(), GradientHook(), StopHook(signals)):
            runner.register_hook(hook)
        loop = runner.train_loop
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.call_hook('before_run')
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
    runner.logger.setLevel(logging.CRITICAL)
    model, wrapper, parts = runner.model.train(), runner.optim_wrapper, _Parts()
    parts.watch(model.data_preprocessor, 'forward', 'preprocessing')
    parts.watch(model, 'loss', 'forward and loss')
    parts.watch(wrapper, 'backward', 'backward')
    parts.watch(wrapper, 'step', 'optimizer')

    def batch() -> dict:  # the workers' task
        samples = [DataSample().set_gt_label(label) for label in labels]
        return dict(inputs=inputs, data_samples=samples)

    return parts, batch, partial(loop.run_iter, 0)


def _by_hand(inputs, labels) -> tuple[_Parts, Callable, Callable]:
    model = timm.create_model(
        'deit3_small_patch16_224',
        depth=_DEPTH,
        embed_dim=8,
        num_heads=2,
        img_size=_SIZE,
        num_classes=_CLASSES,
    ).train()
    for block in model.blocks:
        block.drop_path1, block.drop_path2 = DropPath(_RATE), DropPath(_RATE)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [dict(params=decayed), dict(params=others, weight_decay=0.0)]
    optimizer = Lamb(groups, lr=1e-3, eps=1e-8, foreach=True)
    mix = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=_CLASSES)
    mean = torch.tensor(_MEAN).view(3, 1, 1)
    std = torch.tensor(_STD).view(3, 1, 1)
    parts, seen = _Parts(), []

    def step(_: None) -> None:
        with parts('preprocessing'):
            images = (inputs.flip(1).float() - mean) / std
            images, target = _mixed(mix, images, labels)
        with parts('forward and loss'):
            logits = model(torch.cat((images, images)))
            loss = _cosub(logits, (target > 0).float())
        with parts('backward'):
            loss.backward()
        with parts('optimizer'):
            optimizer.step()
            optimizer.zero_grad()
        seen.append(loss.detach())  # as a loop does that logs

    return parts, lambda: None, step


def _mixed(mix: Mixup, images, labels) -> tuple[torch.Tensor, torch.Tensor]:
    """Timm's mixup or cutmix of a batch; its target is made on the device of the images."""
    lam = mix._mix_batch(images)
    one_hot = F.one_hot(labels, _CLASSES).float()
    return images, one_hot * lam + one_hot.flip(0) * (1 - lam)


def _cosub(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    first, second = logits.chunk(2)
    label = (
        F.binary_cross_entropy_with_logits(first, target)
        + F.binary_cross_entropy_with_logits(second, target)
    ) / 2
    other = (
        F.binary_cross_entropy_with_logits(first, second.detach().sigmoid())
        + F.binary_cross_entropy_with_logits(second, first.detach().sigmoid())
    ) / 2
    return (label + other) / 2
