"""The loading benchmark: both pipelines see the same images and make the same kind of tensor."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from cosub_mm.datasets.reference_pipeline import torchvision_pipeline
from cosub_mm.engine.errors import run_tool

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools/analysis_tools/benchmark_loading.py'))


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for i in range(12):
        path = root / f'n{i % 3}' / f'{i}.jpg'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path)
    return root


@pytest.mark.parametrize(
    'config',
    ['cosub/vit-s_in21k', 'cosub/vit-s_in1k', 'cosub/resnet50_in1k-600e', 'baselines/vit-h'],
)
def test_each_recipe_has_a_torchvision_counterpart(config, photos):
    file = next((ROOT / 'configs').glob(f'{config}*.py'))
    cfg = Config.fromfile(file)
    image = Image.open(photos / 'n0' / '0.jpg')
    tensor = torchvision_pipeline(cfg.train_dataloader.dataset.pipeline)(image)
    crop = cfg.train_dataloader.dataset.pipeline[1]
    assert tensor.shape == (3, *[crop.get('scale', crop.get('size'))] * 2)
    test = torchvision_pipeline(cfg.get('test_pipeline', []))(image)
    assert test.shape[0] == 3


def test_unknown_step():
    with pytest.raises(ValueError, match="no counterpart for 'Mosaic'"):
        torchvision_pipeline([dict(type='mmpretrain.Mosaic')])


def test_both_data_sets_have_the_same_images(photos):
    cfg = Config.fromfile(ROOT / 'configs/cosub/vit-s_in21k.py')
    cfg.train_dataloader.dataset.data_root = str(photos)
    ours, theirs = TOOL['pair'](cfg, 7)
    assert len(ours) == len(theirs) == 7
    assert [ours.dataset.get_data_info(i)['img_path'] for i in ours.indices] == theirs.paths
    assert ours[0]['inputs'].shape == theirs[0].shape
    assert ours[0]['inputs'].dtype == theirs[0].dtype


def test_command(photos, capsys):
    arguments = f'configs/cosub/vit-s_in21k.py --data-root {photos} --images 12 --batch-size 2'
    line = [*arguments.split(), '--rounds', '1', '--workers', '0', '--gpu-rate', '1e6']
    line[0] = str(ROOT / line[0])
    assert run_tool(TOOL['main'], line) == 0
    printed = capsys.readouterr().out
    rates = [float(row.split()[2 if 'config' in row else 1]) for row in printed.splitlines()[1:3]]
    assert all(rate > 0 for rate in rates)
    assert 'a GPU at 1e+06 images/s' in printed
    assert run_tool(TOOL['main'], [*line, '--images', '2']) == 2
    assert 'must exceed --batch-size' in capsys.readouterr().err
