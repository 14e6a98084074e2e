"""A run that goes on with other epochs or another seed counts and draws as a run of these does."""

import pytest
from mmengine.hooks import Hook

from cosub_mm.engine.checkpoints import load_checkpoint
from cosub_mm.engine.code_version import code_version
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import config

SCHEDULES = [
    dict(type='LinearLR', start_factor=0.1, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=2, begin=2, end=4, by_epoch=True),
]


class Steps(Hook):
    """Epoch, index in it, learning rate and random number of every iteration."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.seen = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        group = runner.optim_wrapper.optimizer.param_groups[0]
        self.seen[runner.iter] = (runner.epoch, batch_idx, pytest.approx(group['lr'], rel=1e-9))


def train(cfg, **attributes) -> tuple[dict, CosubRunner]:
    steps = Steps()
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        for name, value in attributes.items():
            setattr(runner, name, value)
        runner.register_hook(steps)
        runner.train()
    return steps.seen, runner


def epochs(work_dir, batch, **changes):
    """16 images an epoch."""
    hooks = dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4))
    cfg = config(work_dir, 16, param_scheduler=SCHEDULES, default_hooks=hooks, **changes)
    cfg.train_dataloader.batch_size = batch
    return cfg


# At the end of an epoch, and with half or a quarter of one done.
@pytest.mark.parametrize('batch, step, then', [(4, 8, 4), (4, 12, 6), (8, 12, 3), (1, 20, 40)])
def test_other_epochs(tmp_path, batch, step, then):
    train(epochs(tmp_path / 'old', 2))
    straight, _ = train(epochs(tmp_path / 'straight', batch))
    source = dict(resume=True, load_from=str(tmp_path / 'old' / f'iter_{step}.pth'))
    resumed, _ = train(epochs(tmp_path / 'resumed', batch, **source))
    assert min(resumed) == then
    assert resumed == {i: seen for i, seen in straight.items() if i >= then}


def test_gathered_gradients_are_those_of_the_new_count(tmp_path):
    over_3 = dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=3))
    train(epochs(tmp_path / 'old', 2, **over_3))
    source = dict(resume=True, load_from=str(tmp_path / 'old' / 'iter_12.pth'))
    resumed, _ = train(epochs(tmp_path / 'resumed', 1, **source, **over_3))
    assert min(resumed) == 24


@pytest.mark.parametrize('new, seed', [(True, 5), (False, 0)])
def test_a_new_seed_is_taken_where_it_was_asked_for(tmp_path, new, seed):
    train(epochs(tmp_path / 'old', 2))
    source = dict(resume=True, load_from=str(tmp_path / 'old' / 'iter_12.pth'))
    cfg = epochs(tmp_path / 'new', 2, randomness=dict(seed=5), **source)
    _, runner = train(cfg, new_settings=new)
    assert runner.seed == seed


def test_checkpoints_say_which_code_wrote_them(tmp_path):
    train(epochs(tmp_path, 4))
    assert load_checkpoint(str(tmp_path / 'iter_4.pth'))['meta']['code'] == code_version()
