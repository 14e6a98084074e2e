"""A run deletes last, and in its own folder only."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from cosub_mm.engine.failed_save import CheckpointNotSaved
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import ToyMetric, config

BEST = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='score', rule='greater')


def train(cfg, values=(1.0,)):
    ToyMetric.values, ToyMetric.calls = values, 0
    with own_instances():
        CosubRunner.from_cfg(cfg).train()


def names(folder):
    return {file.name for file in folder.glob('*.pth')}


def best_config(work_dir, epochs, **changes):
    return config(
        work_dir,
        validate=True,
        default_hooks=dict(checkpoint=BEST),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        **changes,
    )


def test_outdated_checkpoints_go(tmp_path):
    train(best_config(tmp_path, 3), values=(1.0, 2.0, 3.0))
    assert names(tmp_path) == {'epoch_3.pth', 'best_score_epoch_3.pth'}
    assert not list(tmp_path.glob('.*.part'))


@pytest.mark.parametrize('folder', ['moved', 'branch'])
def test_the_best_of_another_run_stays_and_the_own_one_goes(tmp_path, folder):
    first = tmp_path / 'first'
    train(best_config(first, 2), values=(1.0, 0.5))
    before = names(first)
    assert 'best_score_epoch_1.pth' in before
    there = tmp_path / folder
    if folder == 'moved':  # with all it holds: the best in it is its own
        shutil.copytree(first, there)
    source = (there if folder == 'moved' else first) / 'epoch_2.pth'
    train(best_config(there, 3, resume=True, load_from=str(source)), values=(9.0,))
    assert names(first) == before
    assert names(there) == {'epoch_3.pth', 'best_score_epoch_3.pth'}


@pytest.mark.parametrize('which', ['epoch_3.pth', 'best_score_epoch_3.pth'])
def test_a_save_that_fails_leaves_the_old_checkpoint(tmp_path, which):
    """As a full disk or a kill in the middle of a file does."""
    saves = []

    class Runner(CosubRunner):
        def save_checkpoint(self, out_dir, filename, *args, **kwargs):
            saves.append(filename)
            if filename == which:
                raise OSError('No space left on device')
            super().save_checkpoint(out_dir, filename, *args, **kwargs)

    ToyMetric.values, ToyMetric.calls = (1.0, 2.0, 3.0), 0
    with own_instances(), pytest.raises(CheckpointNotSaved, match='No space left.*--resume'):
        Runner.from_cfg(best_config(tmp_path, 3)).train()
    assert which in saves
    left = names(tmp_path)
    kind = which.rpartition('_')[0]
    assert f'{kind}_2.pth' in left
    for name in left:
        torch.load(tmp_path / name, weights_only=False)


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr('os.fsync', lambda handle: steps.append('synced'))
    replace = os.replace

    def renamed(source, target):
        steps.append('named')
        replace(source, target)

    monkeypatch.setattr('os.replace', renamed)
    train(config(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1)))
    assert steps == ['synced', 'named', 'synced']


def test_two_saves_of_one_name_leave_the_second(tmp_path):
    """An epoch that is done again after a resume: the old best has the new one's name."""
    train(best_config(tmp_path, 2), values=(1.0, 2.0))
    shutil.copy(tmp_path / 'epoch_2.pth', tmp_path / 'again.pth')
    checkpoint = torch.load(tmp_path / 'again.pth', weights_only=False)
    checkpoint['meta']['epoch'] = 1
    torch.save(checkpoint, tmp_path / 'again.pth')
    cfg = best_config(tmp_path, 2, resume=True, load_from=str(tmp_path / 'again.pth'))
    train(cfg, values=(9.0,))
    assert 'best_score_epoch_2.pth' in names(tmp_path)


@pytest.mark.parametrize('which', ['epoch_2.pth', 'best_score_epoch_2.pth'])
@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS])
def test_training_goes_on_behind_a_save_that_failed(tmp_path, monkeypatch, which, number):
    """With the older checkpoint kept, and the newer ones as if nothing had happened."""
    replace = os.replace

    def full(source, target):
        if Path(target).name == which:
            raise OSError(number, os.strerror(number))
        replace(source, target)

    monkeypatch.setattr('os.replace', full)
    ToyMetric.values, ToyMetric.calls = (1.0, 3.0, 2.0, 4.0), 0
    left = {}

    class Look(Hook):
        def before_train_epoch(self, runner):
            left[runner.epoch] = names(tmp_path), (tmp_path / 'last_checkpoint').is_file()

    with own_instances():
        runner = CosubRunner.from_cfg(best_config(tmp_path, 4))
        runner.register_hook(Look())
        runner.train()
    kind = which.rpartition('_')[0]
    assert f'{kind}_1.pth' in left[2][0]
    # The score of the second epoch is in no file, so the third, which is less, is the best.
    if kind == 'best_score_epoch':
        assert 'best_score_epoch_3.pth' in left[3][0]
    assert names(tmp_path) == {'epoch_4.pth', 'best_score_epoch_4.pth'}
    log = next(tmp_path.glob('*/*.log')).read_text()
    told = f"A checkpoint could not be written to '{tmp_path}': {os.strerror(number)}"
    assert told in log and 'GiB are free' in log


def test_curves_that_cannot_be_written_do_not_end_a_training(tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('mmengine.visualization.LocalVisBackend.add_scalars', full)
    cfg = best_config(
        tmp_path, 2, visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    )
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=1)
    train(cfg)
    assert 'epoch_2.pth' in names(tmp_path)
    log = next(tmp_path.glob('*/*.log')).read_text()
    assert log.count('Curves cannot be written') == 1
