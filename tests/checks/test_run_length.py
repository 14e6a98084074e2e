"""A run, its schedules and its intervals must agree about its length."""

import copy
from pathlib import Path

import pytest
from mmengine.config import Config

from cosub_mm.checks.run_length import check_run_length, follow_run_length
from tests.engine.toy import built, config

ROOT = Path(__file__).parents[2]
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
    'two cosines': dict(
        param_scheduler=[
            dict(type='CosineAnnealingLR', T_max=2, end=2),
            dict(type='CosineAnnealingLR', T_max=2, begin=2, end=4),
        ]
    ),
    'restarts': dict(
        param_scheduler=dict(
            type='CosineRestartLR', periods=[1, 3], restart_weights=[1, 1], eta_min=0
        )
    ),
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
    'late validation': (
        dict(validate=True, train_cfg=dict(by_epoch=True, max_epochs=4, val_begin=9)),
        'validates from epoch 9 on, and the run has 4',
    ),
    'checkpoints': (
        dict(
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=9, save_last=False))
        ),
        'saves every 9 epochs, not the last one, and the run has 4: nothing would be saved',
    ),
    'checkpoints by epoch': (
        dict(BY_ITER, default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1))),
        'checkpoint counts epochs',
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
    hooks = dict(checkpoint=dict(type='CheckpointHook', interval=10, save_last=False))
    with pytest.raises(ValueError, match='saves every 10 .* goes on to 4'):
        check_run_length(built(config(tmp_path, default_hooks=hooks, **changes)))
    check_run_length(built(config(tmp_path, schedule_of_other_length=True, **changes)))


ITER = dict(type='IterBasedTrainLoop', max_iters=60)
FOLLOW = {
    'deit': (dict(max_epochs=8), dict(DEIT, epochs=800), dict(DEIT, epochs=8)),
    'longer': (dict(max_epochs=900), dict(DEIT, epochs=800), dict(DEIT, epochs=900)),
    'poly': (ITER, dict(POLY, end=20), dict(POLY, end=60)),
    'cosine behind a warm-up': (
        dict(max_epochs=50),
        [
            dict(type='LinearLR', end=5),
            dict(type='mmengine.CosineAnnealingLR', T_max=95, begin=5, end=100),
        ],
        [
            dict(type='LinearLR', end=5),
            dict(type='mmengine.CosineAnnealingLR', T_max=45, begin=5, end=50),
        ],
    ),
}
FOLLOW_NOT = {
    'right': (dict(max_epochs=8), dict(DEIT, epochs=8)),
    'by default': (dict(max_epochs=8), dict(type='CosineAnnealingLR')),
    'begins behind the run': (ITER, dict(POLY, begin=1500, end=160000)),
    'another unit': (dict(max_epochs=8), dict(POLY, end=20)),
    'steps': (dict(max_epochs=8), dict(type='MultiStepLR', milestones=[30])),
}


@pytest.mark.parametrize('name', FOLLOW)
def test_the_last_annealing_schedule_follows_the_run(name):
    train_cfg, before, after = copy.deepcopy(FOLLOW[name])
    cfg = Config(dict(train_cfg=train_cfg, param_scheduler=before))
    (said,) = follow_run_length(cfg)
    assert Config(dict(s=cfg.param_scheduler)).pretty_text == Config(dict(s=after)).pretty_text
    assert 'follows train_cfg.max_' in said
    assert follow_run_length(cfg) == []
    meant = copy.deepcopy(FOLLOW[name][1])
    cfg = dict(train_cfg=train_cfg, param_scheduler=meant, schedule_of_other_length=True)
    assert follow_run_length(Config(cfg)) == []


@pytest.mark.parametrize('name', FOLLOW_NOT)
def test_other_schedules_stay(name):
    train_cfg, schedule = copy.deepcopy(FOLLOW_NOT[name])
    cfg = Config(dict(train_cfg=train_cfg, param_scheduler=schedule))
    before = cfg.pretty_text
    assert follow_run_length(cfg) == []
    assert cfg.pretty_text == before


CONFIGS = sorted(
    path
    for folder in ('cosub', 'baselines', 'ablations', 'transfer', 'ade20k', 'demo')
    for path in (ROOT / 'configs' / folder).glob('*.py')
)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_our_configs_say_one_length(path):
    """What the check would say of a built run, said of all configs without building them."""
    cfg = Config.fromfile(path, import_custom_modules=False)
    assert follow_run_length(cfg) == []
    length = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
    assert cfg.train_cfg.get('val_interval', 1) <= length
    assert cfg.default_hooks.checkpoint.get('interval', 1) <= length


@pytest.mark.parametrize('by_iter', [False, True])
def test_intervals_longer_than_the_run_act_at_its_end_and_say_so(tmp_path, capsys, by_iter):
    checkpoint = dict(type='CheckpointHook', by_epoch=not by_iter, interval=50)
    hooks = dict(checkpoint=checkpoint, logger=dict(type='LoggerHook', interval=50))
    loop = dict(by_epoch=True, max_epochs=2, val_interval=50)
    if by_iter:
        loop = dict(type='IterBasedTrainLoop', max_iters=6, val_interval=50)
    changes = dict(log_processor=dict(by_epoch=not by_iter), default_hooks=hooks, train_cfg=loop)
    runner = built(config(tmp_path, validate=True, **changes))
    check_run_length(runner)
    said = capsys.readouterr().out
    assert 'val_interval=50 and checkpoint.interval=50 ask(s) for is done once, at its end' in said
    runner.train()
    shown = capsys.readouterr().out
    assert shown.count('score:') == 1
    assert ('Iter(train) [6/6]' if by_iter else 'Epoch(train) [2][3/3]') in shown
    assert [file.name for file in tmp_path.glob('*.pth')] == [
        'iter_6.pth' if by_iter else 'epoch_2.pth'
    ]


@pytest.mark.parametrize(
    'epochs, warmup, run, left', [(4, 1, 1, 0), (400, 5, 5, 0), (90, 30, 12, 4), (90, 5, 6, 5)]
)
def test_a_warm_up_that_would_fill_the_run_takes_its_share(epochs, warmup, run, left):
    schedule = dict(type='DeiTCosineLR', epochs=epochs, warmup_epochs=warmup)
    cfg = Config(dict(train_cfg=dict(by_epoch=True, max_epochs=run), param_scheduler=schedule))
    said = follow_run_length(cfg)
    assert cfg.param_scheduler.epochs == run and cfg.param_scheduler.warmup_epochs == left
    assert any(f'warmup_epochs={left} instead of {warmup}' in one for one in said) == (
        left != warmup
    )
