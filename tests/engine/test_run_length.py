"""A run, its schedules and its intervals must agree about its length."""

import pytest
from mmengine.config import Config

from cosub_mm.engine.run_length import check_run_length, follow_run_length
from tests.engine.toy import built, config

DEIT = dict(type='DeiTCosineLR', warmup_epochs=1)
BY_ITER = dict(
    train_cfg=dict(type='IterBasedTrainLoop', max_iters=12),
    default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=6)),
)
POLY = dict(type='PolyLR', power=1.0, by_epoch=False)
RIGHT = {
    'none': dict(),
    'deit': dict(param_scheduler=dict(DEIT, epochs=4)),
    'rsb': dict(
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
            dict(type='CosineAnnealingLR', T_max=3, begin=1, end=4),
        ]
    ),
    'ends by default': dict(
        param_scheduler=[
            dict(type='LinearLR', end=1, convert_to_iter_based=True),
            dict(type='CosineAnnealingLR', begin=1, convert_to_iter_based=True),
        ]
    ),
    'warm-up alone': dict(param_scheduler=dict(type='LinearLR', end=2)),
    'steps': dict(param_scheduler=dict(type='MultiStepLR', milestones=[2, 3])),
    'upernet': dict(
        BY_ITER,
        param_scheduler=[
            dict(type='LinearLR', by_epoch=False, end=3),
            dict(POLY, begin=3, end=12),
        ],
    ),
}
WRONG = {
    'too long': (
        dict(param_scheduler=dict(type='CosineAnnealingLR', T_max=800, end=800)),
        'ends after 800 epochs and the run after 4',
    ),
    'too short': (
        dict(param_scheduler=dict(type='CosineAnnealingLR', T_max=2, end=2)),
        'ends after 2 epochs and the run goes on to 4',
    ),
    'deit': (dict(param_scheduler=dict(DEIT, epochs=8)), 'DeiTCosineLR ends after 8 epochs'),
    'warm-up': (
        dict(param_scheduler=dict(type='LinearLR', by_epoch=False, end=1500)),
        'LinearLR ends after 1500 iterations and the run after 12',
    ),
    'milestones': (
        dict(param_scheduler=dict(type='MultiStepLR', milestones=[2, 30])),
        'MultiStepLR ends after 30 epochs',
    ),
    'poly': (
        dict(BY_ITER, param_scheduler=dict(POLY, end=6)),
        'PolyLR ends after 6 iterations and the run goes on to 12',
    ),
    'momentum': (
        dict(param_scheduler=[dict(type='CosineAnnealingMomentum', T_max=9, end=9)]),
        'momentum would stay',
    ),
    'epochs of iterations': (
        dict(BY_ITER, param_scheduler=dict(type='PolyLR', end=12)),
        'PolyLR counts epochs; an iteration-based run has none',
    ),
    'no step': (dict(images=1), '1 training images, shared by 1 process'),
    'no image': (dict(validate=True, val_dataloader=dict()), 'val_dataloader holds no picture'),
    'validation': (
        dict(validate=True, train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=5)),
        'validates every 5 epochs from 1 on, and the run has 4',
    ),
    'late validation': (
        dict(validate=True, train_cfg=dict(by_epoch=True, max_epochs=4, val_begin=9)),
        'from 9 on, and the run has 4',
    ),
    'checkpoints': (
        dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=10))),
        'saves every 10 epochs and the run has 4',
    ),
    'checkpoints by epoch': (
        dict(BY_ITER, default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1))),
        'checkpoint counts epochs',
    ),
    'log': (
        dict(BY_ITER, default_hooks=dict(logger=dict(type='LoggerHook', interval=50))),
        'logs every 50 iterations and the run has 12',
    ),
    'drop path': (
        dict(custom_hooks=[dict(type='EfficientDropPathHook', warmup=5)]),
        'reaches its drop rate behind the end of the run',
    ),
}


@pytest.mark.parametrize('name', RIGHT)
def test_lengths_that_agree(name, tmp_path):
    check_run_length(built(config(tmp_path, **RIGHT[name])))


@pytest.mark.parametrize('name', WRONG)
def test_lengths_that_do_not_agree_stop(name, tmp_path):
    changes, words = WRONG[name]
    cfg = config(tmp_path, **changes)
    if name == 'no image':
        cfg.val_dataloader = dict(config(tmp_path).train_dataloader, dataset=[])
    if name == 'momentum':
        cfg.optim_wrapper.optimizer.momentum = 0.9
    with pytest.raises(ValueError, match=words):
        check_run_length(built(cfg))


def test_all_faults_are_named_at_once_and_can_be_meant(tmp_path):
    changes = dict(param_scheduler=dict(type='CosineAnnealingLR', T_max=2, end=2))
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=10))
    with pytest.raises(ValueError, match='saves every 10 .* goes on to 4'):
        check_run_length(built(config(tmp_path, default_hooks=hooks, **changes)))
    check_run_length(built(config(tmp_path, schedule_of_other_length=True, **changes)))


def test_deits_schedule_follows_the_run():
    cfg = Config(dict(train_cfg=dict(max_epochs=8), param_scheduler=dict(DEIT, epochs=800)))
    (said,) = follow_run_length(cfg)
    assert cfg.param_scheduler.epochs == 8
    assert '8' in said and '800' in said
    assert follow_run_length(cfg) == []


def test_a_schedule_that_is_meant_to_be_of_another_length_does_not_follow():
    cfg = dict(train_cfg=dict(max_epochs=8), param_scheduler=dict(DEIT, epochs=800))
    cfg = Config(dict(cfg, schedule_of_other_length=True))
    assert follow_run_length(cfg) == []
    assert cfg.param_scheduler.epochs == 800
