"""The command that measures a start: a data set of any size, and the first step of a training."""

import runpy
import sys
from pathlib import Path

import pytest
from mmpretrain.registry import DATASETS

import cosub_mm  # noqa: F401
from cosub_mm.analysis.startup import first_step, make_shards
from cosub_mm.launch.errors import UserError, run_tool

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / 'tools/analysis_tools/benchmark_startup.py'))


def test_shards_of_any_number(tmp_path, monkeypatch):
    make_shards(tmp_path, 7, 31)
    monkeypatch.setattr('cosub_mm.datasets.imagenet21k.dataset.scan', None)  # the index is used
    dataset = DATASETS.build(
        dict(
            type='CosubImageNet21k',
            data_root=str(tmp_path),
            pipeline=[dict(type='LoadPicture'), dict(type='PackInputs')],
        )
    )
    labels = [int(dataset[i]['data_samples'].gt_label) for i in range(len(dataset))]
    assert len(labels) == 31 and sorted(set(labels)) == list(range(7)) and labels == sorted(labels)
    inodes = {path.stat().st_ino for path in tmp_path.glob('*.tar')}
    assert len(inodes) == 1


def _training(tmp_path, code):
    body = f'import time; from pathlib import Path; log = Path({str(tmp_path / "w/1")!r}); {code}'
    return [sys.executable, '-c', body]


def test_a_start_is_timed_and_ended(tmp_path):
    code = (
        'kept = bytearray(60_000_000); time.sleep(.6); log.mkdir(parents=True); '
        '(log / "1.log").write_text("Epoch(train) [1][1/9]"); time.sleep(60)'
    )
    start = first_step(_training(tmp_path, code), tmp_path / 'w', timeout=30)
    assert 0.5 < start.seconds < 25
    assert 0.05 < start.gigabytes < 0.5


def test_the_log_of_an_earlier_start_is_none_of_this_one(tmp_path):
    earlier = tmp_path / 'w/0/0.log'
    earlier.parent.mkdir(parents=True)
    earlier.write_text('Epoch(train) [1][1/9]')
    with pytest.raises(UserError, match='no first step'):
        first_step(_training(tmp_path, 'time.sleep(60)'), tmp_path / 'w', timeout=1.5)


@pytest.mark.parametrize(
    ('code', 'words'), [('print("no data")', 'no data'), ('time.sleep(60)', 'after')]
)
def test_a_training_that_does_not_start(tmp_path, code, words):
    with pytest.raises(UserError, match=words):
        first_step(_training(tmp_path, code), tmp_path / 'w', timeout=1.5)


def test_fewer_images_than_classes(tmp_path, capsys):
    assert run_tool(TOOL['main'], [str(tmp_path), '--classes', '3', '--images', '2']) == 2
    assert 'less than one' in capsys.readouterr().err
