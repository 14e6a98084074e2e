"""A cosub step of a small ViT: ours through the Runner, and the same step by hand on timm."""

import tempfile
from pathlib import Path

import timm
import torch
import torch.nn.functional as F
from mmpretrain.structures import DataSample
from timm.data import Mixup
from timm.layers import DropPath
from timm.optim import Lamb

from cosub_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from cosub_mm.engine.hooks.gradient_hook import GradientHook
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.interruption import StopHook, StopSignals
from cosub_mm.launch.isolation import own_instances

from .parts import Parts, Way, in_turns, one_thread
from .running import NO_LOADER, started, way_of

__all__ = ['classification']

_CLASSES, _SIZE, _DEPTH, _RATE = 10, 32, 12, 0.25
_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


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
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (images, 3, _SIZE, _SIZE), generator=generator)
    inputs = inputs.to(torch.uint8)
    labels = torch.randint(0, _CLASSES, (images,), generator=generator)
    with (
        one_thread(),
        tempfile.TemporaryDirectory() as folder,
        own_instances(),
        StopSignals() as signals,
    ):
        ways = {
            'ours': _ours(Path(folder), signals, inputs, labels),
            'by hand on timm': _by_hand(inputs, labels),
        }
        return in_turns(ways, rounds, warmup)


def _ours(folder: Path, signals: StopSignals, inputs, labels) -> Way:
    width = dict(embed_dims=8, num_layers=_DEPTH, num_heads=2, feedforward_channels=32)
    cfg = dict(
        model=dict(
            type='mmpretrain.CosubClassifier',
            backbone=dict(type='CosubViT', arch=width, img_size=_SIZE, layer_scale_init_value=1e-4),
            head=dict(type='LinearClsHead', num_classes=_CLASSES, in_channels=8),
            drop_path_rate=_RATE,
            train_cfg=dict(
                augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)],
                probs=[0.5, 0.5],
            ),
            data_preprocessor=dict(num_classes=_CLASSES, mean=_MEAN, std=_STD, to_rgb=True),
        ),
        work_dir=str(folder),
        train_dataloader=NO_LOADER,
        optim_wrapper=dict(optimizer=dict(type='CosubLamb', lr=1e-3, eps=1e-8)),
        train_cfg=dict(by_epoch=True, max_epochs=10**6),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=50)),
        custom_hooks=[dict(type='EfficientDropPathHook')],
        default_scope='mmpretrain',
        randomness=dict(seed=0),
    )
    hooks = (FiniteLossHook(), GradientHook(), StopHook(signals))
    runner = started(CosubRunner, cfg, hooks)

    def batch() -> dict:  # the workers' task
        samples = [DataSample().set_gt_label(label) for label in labels]
        return dict(inputs=inputs, data_samples=samples)

    return way_of(runner, batch)


def _by_hand(inputs, labels) -> Way:
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
    parts, seen = Parts(), []

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

    return Way(parts, lambda: None, step)


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
