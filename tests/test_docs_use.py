"""The examples of docs/use_in_your_project.md, executed from the page's own text.

The configs run by the train.py that mmseg's and mmpretrain's wheels ship, beside a copy of the
wheels' own base configs; options of the command line make them small.
"""

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from cosub_mm.analysis.complexity import meta_device
from cosub_mm.stochastic_depth import max_drop_rate
from tests import fresh

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / 'docs/use_in_your_project.md').read_text()
EXAMPLES = dict(re.findall(r'^`([\w./-]+)`\n\n```python\n(.*?)^```', PAGE, re.M | re.S))


def test_every_block_of_the_page_is_an_example():
    assert len(EXAMPLES) == PAGE.count('```python') == 6


def run(command, cwd):
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    result = fresh.run(command, cwd=cwd, env=env)
    assert result.returncode == 0, (result.stdout + result.stderr)[-3000:]
    return result.stdout + result.stderr


@pytest.fixture
def project(tmp_path):
    """A function that lays out somebody's project with a stock library's configs and an example."""

    def make(library, example):
        stock = Path(find_spec(library).submodule_search_locations[0]) / '.mim'
        shutil.copytree(
            stock / 'configs/_base_',
            tmp_path / 'configs/_base_',
            ignore=shutil.ignore_patterns('__pycache__'),
        )
        config = tmp_path / example
        config.parent.mkdir()
        config.write_text(EXAMPLES[example])
        return config, stock / 'tools/train.py'

    return make


def pictures(folder, names, mask_folder=None):
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(256, size=(70, 90, 3), dtype=np.uint8)).save(path)
        if mask_folder:
            mask = (mask_folder / name).with_suffix('.png')
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(151, size=(70, 90), dtype=np.uint8)).save(mask)


@pytest.fixture
def ade(tmp_path):
    for split in ('training', 'validation'):
        pictures(
            tmp_path / 'ade/images' / split,
            ['1.jpg', '2.jpg'],
            tmp_path / 'ade/annotations' / split,
        )
    return tmp_path / 'ade'


@pytest.fixture
def imagenet(tmp_path):
    for split in ('train', 'val'):
        names = [f'n{i}/{i}.JPEG' for i in range(4)]
        pictures(tmp_path / 'imagenet' / split, names)
        lines = [f'{name} {i * 300}' for i, name in enumerate(names)]
        (tmp_path / f'imagenet/{split}.txt').write_text('\n'.join(lines))
    return tmp_path / 'imagenet'


def segmentation_options(ade):
    options = ['train_dataloader.batch_size=2', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    for split in ('train', 'val', 'test'):
        options.append(f'{split}_dataloader.dataset.data_root={ade}')
        options.append(f'{split}_dataloader.num_workers=0')
        options.append(f'{split}_dataloader.persistent_workers=False')
    options += [
        'train_dataloader.dataset.pipeline.2.scale=(128,64)',
        'train_dataloader.dataset.pipeline.3.crop_size=(64,64)',
        'val_dataloader.dataset.pipeline.1.scale=(128,64)',
        'model.data_preprocessor.size=(64,64)',
        'model.decode_head.channels=16',
        'model.auxiliary_head.channels=16',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=2',
    ]
    return options


def classification_options(imagenet):
    options = ['train_cfg.max_epochs=1', 'default_hooks.logger.interval=1']
    for split in ('train', 'val'):
        options.append(f'{split}_dataloader.dataset.data_root={imagenet}')
        options.append(f'{split}_dataloader.dataset.ann_file={split}.txt')
        options.append(f'{split}_dataloader.dataset.data_prefix={split}')
        options.append(f'{split}_dataloader.num_workers=0')
        options.append(f'{split}_dataloader.persistent_workers=False')
        options.append(f'{split}_dataloader.batch_size=4')
    options += [
        'train_dataloader.dataset.pipeline.1.scale=64',
        'val_dataloader.dataset.pipeline.1.scale=72',
        'val_dataloader.dataset.pipeline.2.crop_size=64',
    ]
    return options


def train(config, tool, options):
    work_dir = config.parents[2] / 'run'
    out = run([tool, config, '--work-dir', work_dir, '--cfg-options', *options], config.parents[2])
    (checkpoint,) = work_dir.glob('*.pth')
    return out, torch.load(checkpoint, map_location='cpu', weights_only=False)['state_dict']


def backbone_of(config):
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    with meta_device():
        return MODELS.build(cfg.model.backbone)


NARROW = '[192,192,192,192]'


def test_mmseg_config_with_cosub_vit(project, ade):
    config, tool = project('mmseg', 'configs/cosub/upernet_cosub-vit-b.py')
    options = [
        'model.backbone.arch=ti',
        'model.backbone.img_size=64',
        f'model.neck.in_channels={NARROW}',
        'model.neck.out_channels=192',
        f'model.decode_head.in_channels={NARROW}',
        'model.auxiliary_head.in_channels=192',
    ]
    out, weights = train(config, tool, segmentation_options(ade) + options)
    assert 'decode.loss_ce' in out and 'mIoU' in out
    assert weights['backbone.layers.11.attn.gamma1.weight'].shape == (192,)
    assert max_drop_rate(backbone_of(config)) == 0.2


def test_mmseg_config_with_cosub_backbone(project, ade):
    config, tool = project('mmseg', 'configs/cosub/upernet_cosub-swin-t.py')
    out, weights = train(config, tool, segmentation_options(ade))
    assert 'decode.loss_ce' in out and 'mIoU' in out
    assert 'backbone.stages.2.blocks.5.attn.w_msa.qkv.weight' in weights
    assert max_drop_rate(backbone_of(config)) == 0.2


def test_mmpretrain_config_with_cosub_classifier(project, imagenet):
    config, tool = project('mmpretrain', 'configs/cosub/cosub-resnet50.py')
    out, weights = train(config, tool, classification_options(imagenet))
    assert 'loss_cosub' in out and 'loss_label' in out and 'accuracy/top1' in out
    assert 'backbone.layer4.2.conv3.weight' in weights


def test_mmpretrain_config_with_cosub_backbone(project, imagenet):
    config, tool = project('mmpretrain', 'configs/cosub/cosub-vit-b.py')
    options = [
        'model.backbone.backbone.arch=ti',
        'model.backbone.backbone.img_size=64',
        'model.head.in_channels=192',
    ]
    out, weights = train(config, tool, classification_options(imagenet) + options)
    assert 'accuracy/top1' in out
    assert 'backbone.layers.11.ffn.gamma2.weight' in weights
    assert max_drop_rate(backbone_of(config)) == 0.2


def test_timm_model(tmp_path):
    (tmp_path / 'example.py').write_text(EXAMPLES['timm_model.py'])
    out = run(['example.py'], tmp_path)
    assert 'blocks.11' in out and '0.2' in out  # the report names every block and its rate


def test_plain_loop(tmp_path):
    (tmp_path / 'example.py').write_text(EXAMPLES['plain_loop.py'])
    out = run(['example.py'], tmp_path)
    accuracy = float(out.split()[-1])
    assert accuracy > 0.5  # 0.2 is chance
