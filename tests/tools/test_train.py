import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from tools import train


def weights(path) -> dict:
    return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')['state_dict']


def assert_same_weights(one: dict, other: dict) -> None:
    assert one.keys() == other.keys()
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert not different


def run(config: Path, work_dir: Path, *options: str) -> int:
    return train.main([str(config), '--work-dir', str(work_dir), *options])


def log_of(work_dir: Path) -> str:
    """The log of the last run in a work dir."""
    return max(work_dir.glob('*/*.log')).read_text()


def test_classification_trains_and_logs(trained_classifier):
    log = log_of(trained_classifier)
    last = [line for line in log.splitlines() if 'Epoch(train)' in line][-1]
    for word in ('lr:', 'eta:', 'loss:', 'loss_label:', 'loss_cosub:', 'drop_rate:'):
        assert word in last, f'{word} is not in the log: {last}'
    assert f'{trained_classifier}/epoch_2.pth' in log.partition('finished')[2]
    assert 'accuracy/top1' in log
    assert not list(trained_classifier.glob('.*.part'))


def test_tensorboard_by_one_flag(trained_classifier):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = max(trained_classifier.glob('*/vis_data/events.*'))
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    assert {'loss_label', 'lr'} <= set(accumulator.Tags()['scalars'])
    assert len(accumulator.Scalars('loss_label')) == 6
    # The flag adds to the usual scalars, it does not replace them.
    assert next(trained_classifier.glob('*/vis_data/scalars.json')).is_file()


def test_segmentation_trains(trained_segmentor):
    log = log_of(trained_segmentor)
    scalars = next(trained_segmentor.glob('*/vis_data/scalars.json')).read_text().splitlines()
    losses = [json.loads(line)['loss'] for line in scalars if 'loss' in json.loads(line)]
    assert losses[-1] < 0.6 * losses[0]
    assert 'mIoU' in log and 'eta:' in log
    # The config's list of hooks holds none of ours: the tools add what says what is dropped.
    assert 'Stochastic depth, 4 branches, 4 rows a batch' in log and 'drop_rate:' in log


def test_resume_equals_an_uninterrupted_run(trained_classifier, classification, tmp_path, capsys):
    """Order of the data, flips, dropped rows, optimizer and schedule go on where they were."""
    whole = weights(trained_classifier / 'epoch_2.pth')
    assert run(classification, tmp_path, '--cfg-options', 'train_cfg.max_epochs=1') == 0
    first = weights(tmp_path / 'epoch_1.pth')
    assert_same_weights(first, weights(trained_classifier / 'epoch_1.pth'))
    assert run(classification, tmp_path, '--resume') == 2  # one epoch more than it was trained for
    assert 'train_cfg.max_epochs: 1 -> 2' in capsys.readouterr().err
    assert run(classification, tmp_path, '--resume', '--on-config-change', 'new') == 0
    assert_same_weights(weights(tmp_path / 'epoch_2.pth'), whole)
    assert (first['head.fc.weight'] != whole['head.fc.weight']).any()


def test_resume_is_exact_with_worker_processes(classification, tmp_path):
    """And with a seed that the first start drew: the resumed run takes it over."""
    options = ['--cfg-options', 'train_dataloader.num_workers=2', 'randomness.seed=None']
    assert run(classification, tmp_path / 'a', *options) == 0
    shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    (tmp_path / 'b' / 'epoch_2.pth').unlink()
    assert run(classification, tmp_path / 'b', '--resume', *options) == 0
    a, b = (weights(tmp_path / name / 'epoch_2.pth') for name in 'ab')
    assert_same_weights(a, b)


def test_a_complete_training_is_left_alone(trained_classifier, classification, capsys):
    before = (trained_classifier / 'epoch_2.pth').stat().st_mtime_ns
    assert run(classification, trained_classifier, '--resume') == 0
    assert 'training is complete: 2 of 2 epochs' in capsys.readouterr().out
    assert (trained_classifier / 'epoch_2.pth').stat().st_mtime_ns == before


def test_a_new_training_does_not_overwrite_an_old_one(classification, tmp_path, capsys):
    (tmp_path / 'epoch_7.pth').write_bytes(b'precious')
    assert run(classification, tmp_path) == 2
    error = capsys.readouterr().err
    assert 'epoch_7.pth' in error and '--resume' in error and '--overwrite' in error
    assert (tmp_path / 'epoch_7.pth').read_bytes() == b'precious'


def test_overwrite_deletes_and_says_so(classification, tmp_path):
    (tmp_path / 'epoch_7.pth').write_bytes(b'old')
    one_step = ('--cfg-options', 'train_cfg.max_epochs=1')
    assert run(classification, tmp_path, '--overwrite', '--amp', 'bf16', *one_step) == 0
    assert [file.name for file in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    log = log_of(tmp_path)
    assert 'epoch_7.pth (--overwrite)' in log
    assert 'Bf16OptimWrapper' in log


def test_another_global_batch_needs_a_decision(classification, tmp_path, capfd):
    other = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_dataloader.batch_size=18')
    assert run(classification, tmp_path, *other) == 2
    error = capfd.readouterr().err
    assert 'global batch of 6 images; this run has 18' in error and '--auto-scale-lr' in error
    assert not list(tmp_path.glob('*.pth'))
    assert run(classification, tmp_path, *other, 'auto_scale_lr=None') == 0
    assert 'lr: 2.0000e-02' in log_of(tmp_path)


def test_auto_scale_lr_counts_accumulation(classification, tmp_path):
    options = ('train_cfg.max_epochs=1', 'optim_wrapper.accumulative_counts=2')
    assert run(classification, tmp_path, '--auto-scale-lr', '--cfg-options', *options) == 0
    log = log_of(tmp_path)
    assert 'lr: 4.0000e-02' in log
    assert 'this run has 12 (linear rule)' in log
    assert 'global batch 12 = 6 a process x 1 process(es) x 2 accumulated' in log


def test_fine_tuning_from_a_checkpoint_reports_what_matched(
    trained_classifier, segmentation, tmp_path
):
    start = trained_classifier / 'epoch_2.pth'
    init = [
        'train_cfg.max_iters=1',
        'train_cfg.val_interval=1',
        'default_hooks.checkpoint.interval=1',
        'default_hooks.logger.interval=1',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={start}',
        'model.backbone.init_cfg.prefix=backbone.',
    ]
    assert run(segmentation, tmp_path, '--cfg-options', *init) == 0
    names = [name for name in weights(start) if name.startswith('backbone.')]
    assert f'backbone starts from {start}: {len(names)}/' in log_of(tmp_path)
    # A wrong prefix would load nothing.
    init[-1] = 'model.backbone.init_cfg.prefix=encoder.'
    assert run(segmentation, tmp_path / 'wrong', '--cfg-options', *init) == 2


@pytest.mark.parametrize(
    'options, expected',
    [
        (['--cfg-options', 'load_from={tmp}/none.pth'], ['none.pth', 'does not exist']),
        (['--resume', '{tmp}/cut.pth'], ['cut.pth', 'truncated']),
        (['--cfg-options', 'load_from={tmp}/cut.pth'], ['cut.pth', 'truncated']),
        (['--cfg-options', 'load_from={tmp}/other.pth'], ['another architecture', '0/']),
        (['--resume', '{tmp}/other.pth'], ['other.pth', 'load_from=']),
        (['--cfg-options', 'optim_wrapper.optimiser.lr=1'], ['optimiser', 'optimizer']),
        (['--cfg-options', 'modle.lam=1'], ['modle', 'model']),
        (['--cfg-options', 'model.lam=2'], ['lam', '[0, 1]']),
        (['--cfg-options', 'model.backbone.arch=gigantic'], ['gigantic', "'b'"]),
        (['--cfg-options', 'optim_wrapper.optimizer.type=Lion9'], ['Lion9']),
        (['--cfg-options', 'default_scope=mmdet'], ['mmdet', 'mmpretrain']),
        (['--data-root', '{tmp}/nowhere'], ['nowhere', 'not a folder']),
        (['--amp', 'fp16'], ['needs a GPU']),
        (['--launcher', 'pytorch'], ['dist_train.sh']),
    ],
)
def test_bad_input_is_one_line(classification, tmp_path, capsys, monkeypatch, options, expected):
    monkeypatch.delenv('RANK', raising=False)
    torch.save({'state_dict': {'encoder.weight': torch.zeros(3)}}, tmp_path / 'other.pth')
    whole = (tmp_path / 'other.pth').read_bytes()
    (tmp_path / 'cut.pth').write_bytes(whole[: len(whole) // 2])
    options = [option.replace('{tmp}', str(tmp_path)) for option in options]
    assert run(classification, tmp_path / 'run', *options) == 2
    error = capsys.readouterr().err.rpartition('error: ')[2]
    assert 'Traceback' not in error
    for words in expected:
        assert words in error
    assert not list(tmp_path.glob('run/*.pth'))


def test_an_unknown_config_names_similar_ones(capsys):
    assert train.main(['configs/ade20k/upernet_vit-b_521.py']) == 2
    error = capsys.readouterr().err
    assert 'upernet_vit-b_521.py' in error and 'upernet_vit-b_512.py' in error


def test_data_root_moves_every_data_set(classification, classes_root, tmp_path, capsys):
    """The config's own data root does not exist; --data-root replaces it in train and val."""
    moved = tmp_path / 'moved.py'
    moved.write_text(classification.read_text().replace(str(classes_root), '/no/such/place'))
    short = ('--cfg-options', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    assert run(moved, tmp_path / 'a', *short) == 2
    assert run(moved, tmp_path / 'b', '--data-root', str(classes_root), *short) == 0
    assert 'accuracy/top1' in log_of(tmp_path / 'b')


@pytest.mark.parametrize('workers', [0, 1])
def test_a_picture_that_cannot_be_decoded(classification, classes_root, tmp_path, capsys, workers):
    """Named and fatal by default, also from a worker process; left out by --on-bad-image skip."""
    data = tmp_path / 'data'
    shutil.copytree(classes_root, data)
    (data / 'train' / 'b' / '3.png').write_bytes(b'not a picture')
    options = ['train_cfg.max_epochs=1', f'train_dataloader.num_workers={workers}']
    options = ['--data-root', str(data), '--cfg-options', *options]
    assert run(classification, tmp_path / 'stop', *options) == 2
    error = capsys.readouterr().err.rpartition('error: ')[2]
    assert str(data / 'train' / 'b' / '3.png') in error and '--on-bad-image skip' in error
    assert 'Traceback' not in error
    if workers == 0:
        assert run(classification, tmp_path / 'skip', '--on-bad-image', 'skip', *options) == 0
        assert 'b/3.png' in log_of(tmp_path / 'skip')
