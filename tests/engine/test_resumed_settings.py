"""A run that goes on with new settings has the rates that a run of these from the start has."""

import pytest
import torch
from mmengine.hooks import Hook

from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import config

ITERATIONS = dict(
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=5)),
)
CASES = {
    'deit': (
        dict(param_scheduler=dict(type='DeiTCosineLR', epochs=4, warmup_epochs=1)),
        dict(
            param_scheduler=dict(type='DeiTCosineLR', epochs=9, warmup_epochs=2),
            train_cfg=dict(by_epoch=True, max_epochs=9),
        ),
        'epoch_2.pth',
    ),
    'warm-up by iteration, cosine by epoch': (
        dict(
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
                dict(type='CosineAnnealingLR', T_max=3, begin=1, end=4),
            ]
        ),
        dict(
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.1, end=3, convert_to_iter_based=True),
                dict(type='CosineAnnealingLR', T_max=5, begin=3, end=8, eta_min=1e-3),
            ],
            train_cfg=dict(by_epoch=True, max_epochs=8),
        ),
        'epoch_2.pth',
    ),
    'poly by iteration': (
        dict(
            ITERATIONS,
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=10),
            param_scheduler=dict(type='PolyLR', power=1.0, by_epoch=False, end=10),
        ),
        dict(
            ITERATIONS,
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=25),
            param_scheduler=[
                dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=7),
                dict(type='PolyLR', power=0.9, by_epoch=False, begin=7, end=25),
            ],
        ),
        'iter_5.pth',
    ),
    'another rate and decay, no schedule': (
        dict(),
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.3, weight_decay=0.5))),
        'epoch_2.pth',
    ),
    'momentum too': (
        dict(
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0, momentum=0.9, weight_decay=0.0)),
            param_scheduler=dict(type='CosineAnnealingMomentum', T_max=4, end=4),
        ),
        dict(
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0, momentum=0.5, weight_decay=0.0)),
            param_scheduler=dict(type='CosineAnnealingMomentum', T_max=6, end=6),
            train_cfg=dict(by_epoch=True, max_epochs=6),
        ),
        'epoch_2.pth',
    ),
}
# Groups of their own for norms and biases, as every recipe has.
GROUPS = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)


class Rates(Hook):
    """Settings of every group at every step."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.seen = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.seen[runner.iter] = [
            (group['lr'], group['weight_decay'], group['momentum']) for group in groups
        ]


def train(cfg, new_settings=False) -> dict:
    cfg.setdefault('optim_wrapper', {}).paramwise_cfg = dict(GROUPS)
    rates = Rates()
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        runner.new_settings = new_settings
        # As the tools do: everything is built before training begins.
        runner.train_loop
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        if runner.param_schedulers is not None:
            runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
        runner.register_hook(rates)
        runner.train()
    return rates.seen


@pytest.mark.parametrize('name', CASES)
def test_rates_equal_those_of_an_uninterrupted_run(name, tmp_path):
    old, new, checkpoint = CASES[name]
    train(config(tmp_path / 'old', **old))
    straight = train(config(tmp_path / 'straight', **new))
    source = dict(resume=True, load_from=str(tmp_path / 'old' / checkpoint))
    resumed = train(config(tmp_path / 'resumed', **source, **new), new_settings=True)
    assert set(resumed) < set(straight)
    for step, groups in resumed.items():
        for ours, theirs in zip(groups, straight[step], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-9), step


def test_without_being_asked_the_checkpoint_decides(tmp_path):
    """mmengine's own way, which the tools use where nothing has changed."""
    old, new, checkpoint = CASES['another rate and decay, no schedule']
    train(config(tmp_path / 'old', **old))
    source = dict(resume=True, load_from=str(tmp_path / 'old' / checkpoint))
    resumed = train(config(tmp_path / 'resumed', **source, **new))
    assert all(lr == 1.0 for groups in resumed.values() for lr, _, _ in groups)


def test_the_state_of_the_optimizer_is_kept(tmp_path):
    momentum = dict(
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.0))
    )
    train(config(tmp_path / 'old', **momentum))
    faster = dict(
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0, momentum=0.9, weight_decay=0.0))
    )
    source = dict(resume=True, load_from=str(tmp_path / 'old' / 'epoch_2.pth'))
    train(config(tmp_path / 'new', **source, **faster), new_settings=True)
    before, after = (
        torch.load(tmp_path / run / f'epoch_{epoch}.pth', weights_only=False)
        for run, epoch in (('old', 2), ('new', 4))
    )
    for name, weight in before['state_dict'].items():  # the new rate is 0
        assert torch.equal(weight, after['state_dict'][name])
    assert before['optimizer']['state'][0]['momentum_buffer'].abs().sum() > 0
