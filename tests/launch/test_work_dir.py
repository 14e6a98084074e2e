"""Resume, the refusal to overwrite and --overwrite look where checkpoints are written."""

import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import LocalBackend, register_backend

from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances
from cosub_mm.launch.work_dir import (
    checkpoint_folders,
    clear_checkpoints,
    default_work_dir,
    newest_checkpoint,
    refuse_to_delete,
    refuse_to_overwrite,
    summary,
)
from tests.engine.toy import config

ROOT = Path(__file__).parents[2]


def train(cfg) -> None:
    with own_instances():
        CosubRunner.from_cfg(cfg).train()


def test_a_baseline_does_not_write_where_the_config_of_its_name_does(monkeypatch):
    assert default_work_dir('configs/cosub/vit-b_in1k.py') == 'work_dirs/vit-b_in1k'
    baseline = 'work_dirs/baselines/vit-b_in1k'
    assert default_work_dir('configs/baselines/vit-b_in1k.py') == baseline
    monkeypatch.chdir(ROOT / 'configs/baselines')
    assert default_work_dir('vit-b_in1k.py') == baseline


@pytest.fixture(params=['default', 'custom'])
def elsewhere(request, tmp_path):
    """A run whose checkpoints go to a second folder."""
    hook = dict(type='CheckpointHook', interval=1, out_dir=str(tmp_path / 'big'))
    cfg = config(tmp_path / 'runs' / 'a', train_cfg=dict(by_epoch=True, max_epochs=2))
    if request.param == 'default':
        cfg.default_hooks = dict(checkpoint=hook)
    else:
        cfg.default_hooks, cfg.custom_hooks = dict(checkpoint=None), [hook]
    return cfg, tmp_path / 'big' / 'a'


def test_a_second_folder(elsewhere):
    cfg, folder = elsewhere
    refuse_to_overwrite(cfg)
    assert newest_checkpoint(cfg) is None
    train(cfg)
    assert newest_checkpoint(cfg) == str(folder / 'epoch_2.pth')
    with pytest.raises(FileExistsError, match=f'{folder}.*2 checkpoint.*epoch_2.pth'):
        refuse_to_overwrite(cfg)
    assert str(folder / 'epoch_2.pth') in summary(cfg, cfg.work_dir, cfg.work_dir)
    assert {str(folder / f'epoch_{i}.pth') for i in (1, 2)} == set(clear_checkpoints(cfg))
    assert newest_checkpoint(cfg) is None
    refuse_to_overwrite(cfg)


def test_the_newest_is_the_one_written_last(elsewhere):
    """Not the one of the highest number: a run may have gone on from an older one."""
    cfg, folder = elsewhere
    train(cfg)
    shutil.copy2(folder / 'epoch_2.pth', folder / 'epoch_7.pth')  # as old as the other
    assert newest_checkpoint(cfg) == str(folder / 'epoch_2.pth')


def test_checkpoints_from_before_the_second_folder(elsewhere):
    cfg, _ = elsewhere
    train(config(cfg.work_dir, train_cfg=dict(by_epoch=True, max_epochs=1)))
    assert newest_checkpoint(cfg).endswith('runs/a/epoch_1.pth')
    with pytest.raises(FileExistsError, match='runs/a'):
        refuse_to_overwrite(cfg)


@pytest.mark.parametrize('how', ['as it is', 'by a link', 'in the second folder'])
def test_overwriting_does_not_delete_what_it_starts_from(tmp_path, how):
    hook = dict(type='CheckpointHook', out_dir=str(tmp_path / 'big'))
    cfg = Config(dict(work_dir=str(tmp_path / 'a'), default_hooks=dict(checkpoint=hook)))
    folder = tmp_path / 'big' / 'a' if how == 'in the second folder' else tmp_path / 'a'
    folder.mkdir(parents=True)
    start = folder / 'pretrained.pth'
    torch.save({}, start)
    if how == 'by a link':
        (tmp_path / 'link.pth').symlink_to(start)
        start = tmp_path / 'link.pth'
    with pytest.raises(ValueError, match='--overwrite would delete .*--work-dir'):
        refuse_to_delete(cfg, [str(start)])
    torch.save({}, tmp_path / 'other.pth')
    refuse_to_delete(cfg, [str(tmp_path / 'other.pth'), 'https://example.org/w.pth'])


def test_a_remote_store(tmp_path):
    """As mmengine reaches it: a storage backend by the prefix of the address."""

    class Store(LocalBackend):
        def _local(self, path):
            return str(path).replace('toystore://', f'{tmp_path}/')

        def list_dir_or_file(self, path, **kwargs):
            yield from super().list_dir_or_file(self._local(path), **kwargs)

        def remove(self, path):
            super().remove(self._local(path))

    register_backend('toystore', Store, prefixes='toystore', force=True)
    hook = dict(type='CheckpointHook', out_dir='toystore://bucket')
    cfg = Config(dict(work_dir=str(tmp_path / 'a'), default_hooks=dict(checkpoint=hook)))
    assert list(checkpoint_folders(cfg)) == ['toystore://bucket/a', str(tmp_path / 'a')]
    store = tmp_path / 'bucket' / 'a'
    store.mkdir(parents=True)
    assert newest_checkpoint(cfg) is None
    for name in ('epoch_9.pth', 'epoch_10.pth', 'best_epoch_11.pth'):
        (store / name).touch()
    assert newest_checkpoint(cfg) == 'toystore://bucket/a/epoch_10.pth'
    with pytest.raises(FileExistsError, match='toystore://bucket/a.*3 checkpoint'):
        refuse_to_overwrite(cfg)
    assert len(clear_checkpoints(cfg)) == 3 and not list(store.iterdir())
