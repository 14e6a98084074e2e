"""The whole-training benchmark: both ways train on the same pictures, here a few small ones."""

import runpy
from pathlib import Path

import pytest
from PIL import Image

from cosub_mm.analysis import whole_training
from cosub_mm.launch.errors import UserError, run_tool

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools/analysis_tools/benchmark_training.py'))


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp('pictures')
    whole_training.make_images(root, 1000, side=40)
    return root


def test_pictures_are_made_once(pictures):
    files = [*pictures.glob('train/*/*.jpg')]
    assert len(files) == 1000 and len({*(f.parent for f in files)}) == 1000
    assert len([*pictures.glob('val/*/*.jpg')]) == 1000
    assert Image.open(files[0]).size == (40, 30)
    before = files[0].stat().st_mtime_ns
    whole_training.make_images(pictures, 1000, side=40)
    assert files[0].stat().st_mtime_ns == before


def test_both_ways_train(pictures, tmp_path):
    width = dict(embed_dims=8, num_layers=1, num_heads=2, feedforward_channels=8)
    tiny = f'model.backbone.arch={width | {"_delete_": True}}'
    options = [
        tiny,
        'model.backbone.img_size=32',
        'model.head.in_channels=8',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_dataloader.dataset.pipeline.1.scale=32',
    ]
    work_dir = tmp_path / 'run'
    config = 'configs/cosub/vit-s_in1k.py'
    seconds = whole_training.ours(config, pictures, work_dir, 2, False, options)
    assert len(seconds) == 2 and min(seconds) > 0
    with pytest.raises(UserError, match='(?s)ended after 0 of 2.*shapes'):
        wrong = [*options, 'model.head.in_channels=9']
        whole_training.ours(config, pictures, work_dir, 2, False, wrong)
    seconds = whole_training.by_timm('test_vit', pictures, 2, 1, 0.05, 2, 'cpu')
    assert len(seconds) == 2 and whole_training.images_a_second([0.5, 0.1, 4], 2) == 4


@pytest.mark.parametrize('wrong', [['--images', '4'], ['--batch-size', '7'], ['--rounds', '0']])
def test_numbers_that_cannot_be_measured(wrong, tmp_path, capsys):
    line = ['configs/cosub/vit-s_in1k.py', '--timm', 'test_vit', '--work-dir', str(tmp_path)]
    assert run_tool(TOOL['main'], [*line, *wrong]) == 2
    assert 'at least' in capsys.readouterr().err
