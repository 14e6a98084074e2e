"""An iteration of UperNet: ours through our Runner, and mmseg's through mmengine's."""

import multiprocessing
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from mmengine.runner import Runner
from mmengine.structures import PixelData

from cosub_mm.analysis.measure import peak_bytes
from cosub_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from cosub_mm.engine.hooks.gradient_hook import GradientHook
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.interruption import StopHook, StopSignals
from cosub_mm.launch.isolation import own_instances

from .parts import Way, in_turns, one_thread
from .running import NO_LOADER, started, way_of

__all__ = ['segmentation', 'segmentation_memory']

_CLASSES, _DEPTH = 19, 12
_MEAN, _STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
_WAYS = ('ours', "mmseg's")


def segmentation(rounds: int, warmup: int, images: int = 2) -> dict[str, dict[str, list[float]]]:
    """Time an iteration of UperNet on a ViT of 12 blocks and 8 channels, without stochastic depth.

    One thread, in turns, in random order within a round. Loading and collating are left out: both
    ways collate by mmengine's ``pseudo_collate``, in the loading processes.

    Args:
        rounds: how many to time.
        warmup: rounds before.
        images: of 64 pixels, in a batch.

    Returns:
        Seconds of each round, by way and part.
    """
    with ExitStack() as stack:
        stack.enter_context(one_thread())
        make = partial(_way, stack, width=8, heads=2, channels=8, patch=16, crop=64, images=images)
        return in_turns({name: make(name) for name in _WAYS}, rounds, warmup)


def segmentation_memory(images: int = 2, crop: int = 512) -> dict[str, int]:
    """Largest memory of an iteration of UperNet on ViT-S/16, beyond what is there before it.

    What torch's allocator gives out is counted, in the third iteration, each way in a process of
    its own.

    Returns:
        Bytes, by way.
    """
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(_peak, (name, images, crop)) for name in _WAYS}


def _peak(name: str, images: int, crop: int) -> int:
    with ExitStack() as stack:
        way = _way(stack, name, 384, 6, 512, 16, crop, images)
        for _ in range(2):
            way.step(way.batch())
        return peak_bytes(partial(way.step, way.batch()), torch.device('cpu'))


def _way(
    stack: ExitStack,
    name: str,
    width: int,
    heads: int,
    channels: int,
    patch: int,
    crop: int,
    images: int,
) -> Way:
    ours = name == _WAYS[0]
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    stack.enter_context(own_instances())
    cfg = dict(
        model=_model(width, heads, channels, patch, crop),
        work_dir=str(folder),
        experiment_name=name,
        train_dataloader=NO_LOADER,
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4, fused=True)),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=10**6),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=50)),
        default_scope='mmseg',
        randomness=dict(seed=0),
    )
    if ours:
        signals = stack.enter_context(StopSignals())
        cfg['model'] = dict(cfg['model'], type='SupervisedSegmentor')
        hooks = (FiniteLossHook(), GradientHook(), StopHook(signals))
        runner = started(CosubRunner, cfg, hooks)
    else:
        runner = started(Runner, cfg)
    return way_of(runner, _batches(images, crop))


def _model(width: int, heads: int, channels: int, patch: int, crop: int) -> dict:
    """Mmseg's segmentor, as in ``configs/_base_/models/upernet_vit.py``, of any width."""
    norm_cfg = dict(type='BN', requires_grad=True)
    head = dict(
        dropout_ratio=0.1,
        num_classes=_CLASSES,
        norm_cfg=norm_cfg,
        align_corners=False,
    )
    arch = dict(
        embed_dims=width, num_layers=_DEPTH, num_heads=heads, feedforward_channels=4 * width
    )
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            mean=_MEAN,
            std=_STD,
            bgr_to_rgb=True,
            pad_val=0,
            seg_pad_val=255,
            size=(crop, crop),
        ),
        backbone=dict(
            type='mmpretrain.CosubViT',
            arch=arch,
            img_size=crop,
            patch_size=patch,
            out_type='featmap',
            out_indices=(3, 5, 7, 11),
            final_norm=False,
        ),
        neck=dict(
            type='Feature2Pyramid', embed_dim=width, rescales=[4, 2, 1, 0.5], norm_cfg=norm_cfg
        ),
        decode_head=dict(
            type='UPerHead',
            in_channels=[width] * 4,
            in_index=[0, 1, 2, 3],
            pool_scales=(1, 2, 3, 6),
            channels=channels,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
            **head,
        ),
        auxiliary_head=dict(
            type='FCNHead',
            in_channels=width,
            in_index=2,
            channels=max(channels // 2, 8),
            num_convs=1,
            concat_input=False,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
            **head,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode='whole'),
    )


def _batches(images: int, crop: int) -> Callable[[], dict]:
    from mmseg.structures import SegDataSample

    generator = torch.Generator().manual_seed(0)
    size = (images, 3, crop, crop)
    inputs = torch.randint(256, size, generator=generator, dtype=torch.uint8)
    masks = torch.randint(_CLASSES, (images, 1, crop, crop), generator=generator)

    def batch() -> dict:
        samples = [
            SegDataSample(
                gt_sem_seg=PixelData(data=mask.clone()), metainfo=dict(img_shape=(crop, crop))
            )
            for mask in masks
        ]
        return dict(inputs=list(inputs), data_samples=samples)

    return batch
