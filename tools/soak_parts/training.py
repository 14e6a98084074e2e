"""The small training of the soak: pictures in tar shards, some damaged, and its config."""

import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

__all__ = ['BATCH', 'DAMAGED', 'PROCESSES', 'Training', 'make_data', 'write_config']

CLASSES = {'blue': (30, 30, 200), 'green': (30, 200, 30), 'red': (200, 30, 30)}
PER_CLASS = 64
VALIDATED = 8
SIZE = 32
PROCESSES, BATCH = 2, 6
DAMAGED = ('cut', 'empty', 'no picture')

CONFIG = """# A cosub classifier of 2 blocks on noisy colours, with what makes resuming hard.
default_scope = 'mmpretrain'
custom_imports = dict(imports=['cosub_mm', 'tools.soak_parts.hook'], allow_failed_imports=False)
model = dict(
    type='CosubClassifier',
    backbone=dict(
        type='CosubViT', img_size={size}, patch_size=8, drop_path_rate=0.3,
        arch=dict(embed_dims=64, num_layers=2, num_heads=2, feedforward_channels=128)),
    head=dict(type='LinearClsHead', num_classes={classes}, in_channels=64),
    data_preprocessor=dict(
        num_classes={classes}, mean=[127.5] * 3, std=[64.0] * 3, to_rgb=True, to_onehot=True),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]))
train_dataloader = dict(
    batch_size={batch}, num_workers=2, persistent_workers=True, drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CosubImageNet21k', data_root='{data}/train',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale={size}),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs')]))
val_dataloader = dict(
    batch_size={batch}, num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CosubImageNet21k', data_root='{data}/val',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
val_evaluator = dict(type='Accuracy', topk=(1,))
val_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), accumulative_counts=3,
    clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, convert_to_iter_based=True)]
train_cfg = dict(by_epoch=True, max_epochs={epochs}, val_interval=2)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=8),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='auto'))
custom_hooks = [dict(type='EMAHook', momentum=0.01), dict(type='mmengine.SoakHook')]
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
randomness = dict(seed=3, diff_rank_seed=True)
"""


@dataclass(frozen=True)
class Training:
    """The config that is trained, and its numbers.

    Attributes:
        config: the file.
        epochs: length of the training.
        steps: iterations of an epoch.
    """

    config: Path
    epochs: int
    steps: int = PER_CLASS * len(CLASSES) // (PROCESSES * BATCH)

    @property
    def iterations(self) -> int:
        """Iterations of the whole training."""
        return self.epochs * self.steps


def make_data(folder: Path) -> None:
    """Write a shard a class for training, with one damaged picture each, and for validation."""
    rng = np.random.default_rng(0)
    for part, number in (('train', PER_CLASS), ('val', VALIDATED)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for (name, colour), damage in zip(CLASSES.items(), DAMAGED):
            pictures = [_picture(colour, rng) for _ in range(number)]
            if part == 'train':
                pictures[number // 2] = _damaged(pictures[number // 2], damage)
            _write_shard(folder / part / f'{name}.tar', pictures)


def write_config(path: Path, data: Path, epochs: int) -> Training:
    """Write the config of a training.

    Args:
        path: the file.
        data: what :func:`make_data` wrote.
        epochs: length of the training.
    """
    numbers = dict(size=SIZE, classes=len(CLASSES), batch=BATCH, epochs=epochs)
    path.write_text(CONFIG.format(data=data, **numbers))
    return Training(path, epochs)


def _picture(colour: tuple[int, ...], rng: np.random.Generator) -> bytes:
    noise = rng.integers(-60, 60, (SIZE, SIZE, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return file.getvalue()


def _damaged(picture: bytes, damage: str) -> bytes:
    return {'cut': picture[: len(picture) // 2], 'empty': b'', 'no picture': b'no picture'}[damage]


def _write_shard(path: Path, pictures: list[bytes]) -> None:
    with tarfile.open(path, 'w') as tar:
        for i, picture in enumerate(pictures):
            info = tarfile.TarInfo(f'{i:03}.png')
            info.size = len(picture)
            tar.addfile(info, BytesIO(picture))
