"""The loading benchmark: both pipelines see the same images and make the same kind of tensor."""

import random
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from cosub_mm.analysis.loading_rates import Way, measure_core, measure_workers
from cosub_mm.analysis.reference_pipeline import timm_steps, torchvision_pipeline, torchvision_steps
from cosub_mm.launch.errors import run_tool

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
    on_tensors = torchvision_steps(cfg.train_dataloader.dataset.pipeline, tensors=True)
    for _ in range(8):  # the operations are drawn
        value = str(photos / 'n0' / '0.jpg')
        for _, step in on_tensors:
            value = step(value)
        assert value.shape == tensor.shape and value.dtype == tensor.dtype
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


def test_timms_pipeline_gives_our_pixels(photos, tmp_path):
    """The same recipe: so its time is a fair measure. Draws differ, hence no random crop here."""
    pipeline = [
        dict(type='LoadPicture'),
        dict(type='SimpleRandomCrop', size=60, padding=0),
        dict(type='RandomFlip', prob=1.0),
        dict(type='ThreeAugment', color_jitter=0.3),
        dict(type='PackInputs'),
    ]
    path = str(tmp_path / 'square.png')
    Image.open(photos / 'n0' / '0.jpg').crop((0, 0, 60, 60)).save(path)
    ours = Compose([TRANSFORMS.build(step) for step in pipeline])
    for seed in range(6):
        random.seed(seed), torch.manual_seed(seed)
        expected = ours(dict(img_path=path))['inputs'].flip(0)
        random.seed(seed), torch.manual_seed(seed)
        value = path
        for name, step in timm_steps(pipeline):
            value = step(value)
            if name == 'RandomFlip':  # its draw, which ours takes from numpy
                torch.manual_seed(seed)
        np.testing.assert_array_equal(value, expected)


@pytest.mark.parametrize('config', ['cosub/vit-s_in21k', 'cosub/resnet50_in1k-600e'])
def test_recipes_that_timm_can_write(config):
    cfg = Config.fromfile(ROOT / f'configs/{config}.py')
    names = [name for name, _ in timm_steps(cfg.train_dataloader.dataset.pipeline)]
    assert names[0] == 'decode' and names[-1] == 'pack' and len(names) >= 5
    assert timm_steps([dict(type='LoadImageFromFile'), dict(type='CenterCrop')]) is None


def test_processor_time_is_counted_for_the_right_way(monkeypatch):
    """What takes twice the time has half the rate; the ways see the same batches."""
    seen, spent = [], [0.0]
    monkeypatch.setattr('time.thread_time', lambda: spent[0])

    class Work(list):
        def __init__(self, name, loops):
            super().__init__(range(8))
            self.name, self.loops = name, loops

        def __getitem__(self, index):
            seen.append((self.name, index))
            spent[0] += self.loops
            return index

    ways = [
        Way(name, Work(name, loops), [], collate=list)
        for name, loops in (('slow', 2.0), ('fast', 1.0))
    ]
    measure_core(ways, batch_size=4, rounds=3)
    assert [len(way.core) for way in ways] == [3, 3]
    assert [way.rate for way in ways] == [0.5, 1.0]
    for name in ('slow', 'fast'):
        assert [index for who, index in seen if who == name] == list(range(8)) * 4
    assert {who for who, _ in seen[:8]} == {'slow', 'fast'}  # in turn, batch by batch


def test_command(photos, capsys):
    arguments = f'configs/cosub/vit-s_in21k.py --data-root {photos} --images 12 --batch-size 2'
    line = [*arguments.split(), '--rounds', '1', '--workers', '0', '--gpu-rate', '1e6']
    line[0] = str(ROOT / line[0])
    assert run_tool(TOOL['main'], line) == 0
    printed = capsys.readouterr().out
    rates = dict(re.findall(r'^(.*): +([\d.]+) images/s and core', printed, re.M))
    assert list(rates) == ['this config', 'timm', 'torchvision', 'torchvision v2']
    assert all(float(rate) > 0 for rate in rates.values())
    assert len(re.findall(r'^this config / .*: \d+\.\d\d$', printed, re.M)) == 3
    workers, cores = map(int, re.search(r': (\d+) workers; 8 GPUs: (\d+) cores', printed).groups())
    each = float(rates['this config'])
    assert abs(workers - 1e6 / each) < 0.01 * workers and abs(cores - 8e6 / each) < 0.01 * cores
    for step in ('decode', 'SimpleRandomCrop', 'RandomFlip', 'ThreeAugment', 'pack'):
        row = next(row for row in printed.splitlines() if row.startswith(step))
        assert float(row.split()[1]) > 0
    assert run_tool(TOOL['main'], [*line, '--images', '2']) == 2
    assert 'must exceed --batch-size' in capsys.readouterr().err


def test_workers_are_measured_on_the_clock(photos):
    way = Way('some', list(range(40)), [], collate=list)
    measure_workers([way], batch_size=4, rounds=2, workers=1)
    assert len(way.wall) == 2 and all(rate > 0 for rate in way.wall)
