"""The examples train, on a small part of their data."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from examples import timm_loop as example
from tools import train

ROOT = Path(__file__).parents[2]


def test_the_timm_loop_learns(monkeypatch, capsys):
    images, labels, test_images, test_labels = example.load_digits()
    assert images.shape == (4000, 1, 28, 28)
    assert test_images.shape == (1000, 1, 28, 28)
    assert images.aminmax() == (-1, 1)
    few = (labels < 2).nonzero().squeeze(1)[:400]
    held_out = (test_labels < 2).nonzero().squeeze(1)[:50]
    part = images[few], labels[few], test_images[held_out], test_labels[held_out]
    monkeypatch.setattr(example, 'load_digits', lambda: part)
    monkeypatch.setattr('sys.argv', ['timm_loop.py', '--epochs', '4'])
    example.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum('subset' in line for line in lines) == 12
    assert float(lines[-1].split()[-1].rstrip('%')) > 75  # zeros and ones: 50 by chance


def picture(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


@pytest.fixture
def data(tmp_path):
    """Pictures in the layout that make_demo_data.py writes."""
    rng = np.random.default_rng(0)
    for part in ('train', 'val'):
        for label in range(10):
            picture(tmp_path / f'digits/{part}/{label}/0.png', rng.integers(256, size=(28, 28)))
    for part in ('training', 'validation'):
        for i in range(2):
            pixels, labels = rng.integers(256, size=(64, 64, 3)), rng.integers(15, size=(64, 64))
            picture(tmp_path / f'scenes/images/{part}/{i}.jpg', pixels)
            picture(tmp_path / f'scenes/annotations/{part}/{i}.png', labels)
    return tmp_path


@pytest.mark.parametrize(
    ('name', 'folder', 'shorter'),
    [
        (
            'mmpretrain_config.py',
            'digits',
            'train_cfg.max_epochs=1 param_scheduler.T_max=1 model.backbone.base_channels=8 '
            'model.backbone.stem_channels=8 model.head.in_channels=64',
        ),
        (
            'segmentation_config.py',
            'scenes',
            'train_cfg.max_iters=2 train_cfg.val_interval=2 param_scheduler.end=2 '
            'default_hooks.checkpoint.interval=2 default_hooks.logger.interval=2',
        ),
    ],
)
def test_the_configs_train(name, folder, shorter, data, tmp_path):
    shorter += ' train_dataloader.batch_size=2 train_dataloader.num_workers=0'
    shorter = f'{shorter} val_dataloader.num_workers=0'.split()
    options = ['--work-dir', str(tmp_path / 'run'), '--data-root', str(data / folder)]
    assert train.main([str(ROOT / 'examples' / name), *options, '--cfg-options', *shorter]) == 0
    (checkpoint,) = (tmp_path / 'run').glob('*_[12].pth')
    weights = torch.load(checkpoint, weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in weights.values())
