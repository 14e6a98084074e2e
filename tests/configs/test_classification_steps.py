"""One training step of each architecture and recipe, scaled down, through the real pipeline."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from PIL import Image

import cosub_mm  # noqa: F401
from cosub_mm.stochastic_depth import describe

CONFIGS = Path(__file__).parents[2] / 'configs'
SIZE = 64

VIT = dict(arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64))
PIT = dict(img_size=SIZE, depth=(1, 1, 1), base_dims=(8, 8, 8))
CAIT = dict(img_size=SIZE, depth=2, embed_dim=32, num_heads=2)
XCIT = dict(embed_dims=32, depth=2, num_heads=2)
SWIN = dict(arch=dict(embed_dims=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]), window_size=2)
CONVNEXT = dict(arch=dict(depths=[1, 1, 2, 1], channels=[8, 8, 16, 32]))

# config, what makes its backbone small, channels of the result
CASES = [
    ('cosub/vit-s_in1k', VIT, 32),
    ('cosub/vit-b_in1k', VIT, 32),
    ('cosub/vit-b_in21k', VIT, 32),
    ('cosub/vit-b_in21k-pre_in1k', VIT, 32),
    ('cosub/vit-b_in1k-192px-ft224', VIT, 32),
    ('cosub/vit-h_in1k-126px', VIT, 32),
    ('cosub/vit-g_in21k-112px', VIT, 32),
    ('cosub/vit-m_in21k-270e-pre_in1k-336px', VIT, 32),
    ('baselines/vit-l_in1k', VIT, 32),
    ('ablations/vit-h_in1k-126px_ce-hard', VIT, 32),
    ('cosub/pit-b_in1k-400e', PIT, 128),
    ('cosub/cait-m12_in1k', CAIT, 32),
    ('cosub/cait-l24_in1k-400e', CAIT, 32),
    ('cosub/xcit-l12_in1k-400e', XCIT, 32),
    ('cosub/xcit-s12_in21k-pre_in1k', XCIT, 32),
    ('cosub/swin-l_in1k-400e', SWIN, 128),
    ('cosub/swin-b_in21k-pre_in1k', SWIN, 128),
    ('cosub/convnext-b_in21k', CONVNEXT, 32),
    ('cosub/convnext-s_in21k-pre_in1k', CONVNEXT, 32),
    ('cosub/resnet50_in1k-600e', dict(base_channels=8, stem_channels=8), 256),
    ('baselines/resnet152_in1k-600e', dict(depth=50, base_channels=8), 256),
    ('cosub/regnety-16gf_in1k-600e', dict(model_name='regnety_002'), 368),
    ('cosub/regnety-16gf_in21k-pre_in1k', dict(model_name='regnety_002'), 368),
]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('data')
    generator = np.random.default_rng(0)
    for split in ('train', 'val', ''):
        for name in ('n01', 'n02'):
            for i in range(4):
                path = root / ('imagenet' if split else 'imagenet21k') / split / name / f'{i}.jpg'
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = generator.integers(0, 255, (70, 90, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
    return root


def _scaled_down(name, backbone, channels, data, work_dir):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    cfg.work_dir = str(work_dir)
    cfg.load_from = None
    cfg.model.backbone.pop('init_cfg', None)
    if 'img_size' in cfg.model.backbone:
        cfg.model.backbone.img_size = SIZE
    cfg.model.backbone.update(backbone)
    cfg.model.head.update(in_channels=channels, num_classes=2)
    cfg.data_preprocessor.num_classes = 2
    cfg.model.drop_path_rate = 0.5

    loader = cfg.train_dataloader
    loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader.sampler.setdefault('shuffle', True)
    root = 'imagenet21k' if loader.dataset.type == 'CosubImageNet21k' else 'imagenet'
    loader.dataset.data_root = str(data / root)
    if root == 'imagenet':
        loader.dataset.metainfo = dict(classes=['a', 'b'])
    crop = loader.dataset.pipeline[1]
    crop['scale' if 'scale' in crop else 'size'] = SIZE
    for part in ('val', 'test'):
        for key in ('dataloader', 'cfg', 'evaluator'):
            cfg.pop(f'{part}_{key}', None)
    cfg.default_hooks.pop('checkpoint')
    cfg.env_cfg.cudnn_benchmark = False
    cfg.visualizer = None
    return cfg


class _Stop(Exception):
    """Ends a training of hundreds of epochs."""


class _FirstStep(Hook):
    """Keeps the parameters before the first step and its losses, and ends the training."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.before = {n: p.detach().clone() for n, p in runner.model.named_parameters()}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = outputs
        raise _Stop


@pytest.mark.parametrize(('name', 'backbone', 'channels'), CASES, ids=[c[0] for c in CASES])
def test_one_step(name, backbone, channels, data, tmp_path):
    runner = Runner.from_cfg(_scaled_down(name, backbone, channels, data, tmp_path))
    step = _FirstStep()
    runner.register_hook(step)
    with pytest.raises(_Stop):
        runner.train()
    losses, before = step.losses, step.before

    # Table 2 of the paper has one rate for all blocks, the libraries' convnets grow theirs. Class
    # attention is never dropped.
    branches = describe(runner.model).blocks
    assert len(branches) >= 2
    assert {b.rate for b in branches if 'class attention' not in b.reason} == {0.5}

    supervised = name.startswith('baselines')
    expected = {'loss'} if supervised else {'loss', 'loss_label', 'loss_cosub', 'agreement'}
    assert set(losses) == expected
    assert all(torch.isfinite(value).all() for value in losses.values())
    moved = [n for n, p in runner.model.named_parameters() if not torch.equal(p, before[n])]
    assert len(moved) > len(before) / 2
    assert any(n.startswith('head.') for n in moved)
