"""A run killed between a checkpoint and its validation has the history of one that was not."""

import json

import pytest
from mmengine.hooks import Hook

from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances
from cosub_mm.launch.missed_validation import MissedValidationHook
from cosub_mm.launch.resume_point import already_complete
from tests.engine.toy import ToyMetric, config

BEST = dict(type='CheckpointHook', interval=1, save_best='score', rule='greater')


class Kill(Hook):
    """Ends the run where a validation would begin."""

    def __init__(self, position: int) -> None:
        self.position = position

    def before_val(self, runner):
        if self.position in (runner.epoch, runner.iter):
            raise KeyboardInterrupt


def epochs(work_dir, **changes):
    hooks = dict(checkpoint=BEST)
    return config(work_dir, validate=True, default_hooks=hooks, **changes)


def iterations(work_dir, **changes):
    hooks = dict(checkpoint=dict(BEST, by_epoch=False, interval=2))
    loop = dict(type='IterBasedTrainLoop', max_iters=8, val_interval=4)
    return config(work_dir, validate=True, default_hooks=hooks, train_cfg=loop, **changes)


def train(cfg, kill_at=None) -> None:
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        if kill_at:
            runner.register_hook(Kill(kill_at))
        runner.register_hook(MissedValidationHook())
        runner.train()


def history(work_dir) -> list:
    """(step, score) of every validation, in the order in which they were written."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda f: f.stat().st_mtime)
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    return [(line['step'], line['score']) for line in lines if 'score' in line]


# The last one is the end: nothing but the validation is left to do.
@pytest.mark.parametrize(
    'make, kill_at, checkpoint',
    [
        (epochs, 2, 'epoch_2.pth'),
        (epochs, 4, 'epoch_4.pth'),
        (iterations, 4, 'iter_4.pth'),
        (iterations, 8, 'iter_8.pth'),
    ],
)
def test_the_history_is_whole(tmp_path, make, kill_at, checkpoint):
    scores = (5.0, 6.0, 7.0, 8.0)
    ToyMetric.values, ToyMetric.calls = scores, 0
    train(make(tmp_path / 'straight'))
    ToyMetric.calls = 0
    run = tmp_path / 'run'
    with pytest.raises(KeyboardInterrupt):
        train(make(run), kill_at)
    resume = dict(resume=True, load_from=str(run / checkpoint))
    cfg, meta = (
        make(run, **resume),
        dict(epoch=kill_at, iter=kill_at * (3 if make is epochs else 1)),
    )
    assert not already_complete(cfg, meta)
    train(cfg)
    assert history(run) == history(tmp_path / 'straight')
    best = {file.name for file in (tmp_path / 'straight').glob('best_*')}
    assert best == {file.name for file in run.glob('best_*')}
    # Once: another start finds nothing left to do.
    last = 'epoch_4.pth' if make is epochs else 'iter_8.pth'
    cfg = make(run, resume=True, load_from=str(run / last))
    assert already_complete(cfg, dict(epoch=4, iter=12 if make is epochs else 8))
    calls = ToyMetric.calls
    train(cfg)
    assert ToyMetric.calls == calls


@pytest.mark.parametrize('interval, due', [(2, True), (3, False)])
def test_only_where_a_validation_is_due(tmp_path, interval, due):
    loop = dict(by_epoch=True, max_epochs=4, val_interval=interval)
    ToyMetric.values, ToyMetric.calls = (1.0,), 0
    train(config(tmp_path, train_cfg=dict(loop, max_epochs=2)))  # without validation
    resume = dict(resume=True, load_from=str(tmp_path / 'epoch_2.pth'))
    train(epochs(tmp_path, train_cfg=loop, **resume))
    # Epoch 4, the interval's in the rest, and epoch 2 where it was missed.
    assert [step for step, _ in history(tmp_path)] == ([2, 4] if due else [3, 4])


def test_a_branch_does_not_do_the_work_of_another_run(tmp_path):
    ToyMetric.values, ToyMetric.calls = (1.0,), 0
    train(config(tmp_path / 'other', train_cfg=dict(by_epoch=True, max_epochs=2)))
    resume = dict(resume=True, load_from=str(tmp_path / 'other' / 'epoch_2.pth'))
    train(epochs(tmp_path / 'new', **resume))
    assert [step for step, _ in history(tmp_path / 'new')] == [3, 4]
