"""A resumed run and its checkpoint: which settings differ, and which differences count."""

import copy

import pytest
from mmengine.config import Config

from cosub_mm.checks.config_changes import changes_between, compare_with_checkpoint, restore
from cosub_mm.engine.code_version import code_version

CFG = dict(
    model=dict(type='CosubClassifier', lam=0.5, head=dict(num_classes=3), test_cfg=dict(a=1)),
    train_dataloader=dict(
        batch_size=8,
        num_workers=2,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(
            type='CustomDataset',
            data_root='data/here',
            pipeline=[dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5)],
        ),
    ),
    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.99)), clip_grad=None),
    param_scheduler=[dict(type='LinearLR', end=5), dict(type='CosineAnnealingLR', T_max=95)],
    train_cfg=dict(by_epoch=True, max_epochs=100, val_interval=5),
    custom_hooks=[dict(type='EMAHook', momentum=1e-4), dict(type='mmengine.EpochSeedHook')],
    randomness=dict(seed=3),
    work_dir='w',
    val_dataloader=dict(batch_size=1),
)
COUNT = {
    'model.lam': 0.9,
    'model.head.num_classes': 4,
    'train_dataloader.batch_size': 16,
    'train_dataloader.sampler.type': 'RepeatAugSampler',
    'train_dataloader.dataset.pipeline.1.prob': 0.1,
    'train_dataloader.dataset.pipeline': [dict(type='LoadImageFromFile')],
    'optim_wrapper.type': 'AmpOptimWrapper',
    'optim_wrapper.clip_grad': dict(max_norm=1.0),
    'optim_wrapper.optimizer.lr': 1e-4,
    'optim_wrapper.optimizer.betas': (0.9, 0.95),
    'optim_wrapper.accumulative_counts': 2,
    'param_scheduler.1.T_max': 45,
    'param_scheduler': dict(type='CosineAnnealingLR', T_max=95),
    'train_cfg.max_epochs': 50,
    'custom_hooks': [dict(type='mmengine.EpochSeedHook')],
    'randomness.seed': 4,
}
COUNT_NOT = {
    'work_dir': 'elsewhere',
    'train_dataloader.num_workers': 8,
    'train_dataloader.dataset.data_root': '/moved',
    'train_cfg.val_interval': 1,
    'val_dataloader.batch_size': 7,
    'model.test_cfg.a': 2,
    'randomness.seed': None,
    'custom_hooks': [
        dict(type='DrawPredictionsHook'),
        dict(type='mmengine.EpochSeedHook'),
        dict(type='mmengine.EMAHook', momentum=1e-4),
    ],
    'default_hooks.logger.interval': 1,
    'env_cfg.cudnn_benchmark': True,
    'launcher': 'pytorch',
}


def changed(path, value) -> Config:
    cfg = Config(copy.deepcopy(CFG))
    *way, last = path.split('.')
    node = cfg
    for name in way:
        if not name.isdigit() and name not in node:
            node[name] = {}
        node = node[int(name) if name.isdigit() else name]
    node[last] = value
    return cfg


def recorded(cfg=CFG, **meta) -> dict:
    return dict(cfg=Config(copy.deepcopy(cfg)).pretty_text, epoch=2, iter=20, world_size=1) | meta


@pytest.mark.parametrize('path', COUNT)
def test_what_changes_the_run_stops_it_and_is_named(path):
    cfg = changed(path, COUNT[path])
    with pytest.raises(ValueError, match='--on-config-change new') as caught:
        compare_with_checkpoint(cfg, recorded(), 'stop')
    assert path.split('.')[0] in str(caught.value)


@pytest.mark.parametrize('path', COUNT)
def test_the_old_settings_can_be_had_back(path, capsys):
    cfg = changed(path, COUNT[path])
    compare_with_checkpoint(cfg, recorded(), 'old')
    assert not changes_between(Config(copy.deepcopy(CFG)), cfg)
    assert 'going on with the old settings' in capsys.readouterr().out


@pytest.mark.parametrize('path', COUNT)
def test_the_new_settings_stay(path, capsys):
    cfg = changed(path, COUNT[path])
    before = copy.deepcopy(cfg)
    compare_with_checkpoint(cfg, recorded(), 'new')
    assert cfg.pretty_text == before.pretty_text
    assert '->' in capsys.readouterr().out


@pytest.mark.parametrize('path', COUNT_NOT)
def test_what_changes_nothing_is_let_through(path, capsys):
    compare_with_checkpoint(changed(path, COUNT_NOT[path]), recorded(), 'stop')
    assert capsys.readouterr().out == ''


def test_a_seed_that_was_drawn_is_compared_by_its_value():
    cfg = copy.deepcopy(CFG)
    cfg['randomness']['seed'] = None
    compare_with_checkpoint(changed('randomness.seed', 11), recorded(cfg, seed=11), 'stop')
    with pytest.raises(ValueError, match='randomness.seed: 11 -> 12'):
        compare_with_checkpoint(changed('randomness.seed', 12), recorded(cfg, seed=11), 'stop')


def test_a_setting_and_both_its_values_are_in_the_message():
    with pytest.raises(ValueError, match=r'optim_wrapper\.optimizer\.lr: 0\.001 -> 0\.0001'):
        compare_with_checkpoint(changed('optim_wrapper.optimizer.lr', 1e-4), recorded(), 'stop')


def test_another_number_of_processes_counts_by_its_batch(capsys):
    """Half the processes with twice the batch each are the same run."""
    cfg = changed('train_dataloader.batch_size', 16)
    compare_with_checkpoint(cfg, recorded(world_size=2), 'stop')
    assert '1 process(es) go on where 2 stopped' in capsys.readouterr().out
    with pytest.raises(ValueError, match='images between two steps: 16 -> 8'):
        compare_with_checkpoint(Config(copy.deepcopy(CFG)), recorded(world_size=2), 'stop')


def test_gathering_the_batch_changes_what_schedules_count():
    """The same batch of one process, in two iterations instead of one."""
    cfg = changed('optim_wrapper.accumulative_counts', 2)
    with pytest.raises(ValueError, match='images an iteration.*: 16 -> 8 .2 -> 1 processes'):
        compare_with_checkpoint(cfg, recorded(world_size=2), 'stop')


@pytest.mark.parametrize('path', ['train_dataloader.batch_size', 'model.lam'])
def test_the_old_batch_needs_the_old_processes(path):
    with pytest.raises(ValueError, match='16 -> 8.*the old batch needs the old number'):
        compare_with_checkpoint(changed(path, 4), recorded(world_size=2), 'old')


def test_other_code_is_said(capsys):
    now = code_version()
    assert {'cosub_mm', 'torch', 'mmengine', 'source of cosub_mm'} <= now.keys()
    compare_with_checkpoint(Config(copy.deepcopy(CFG)), recorded(code=now), 'stop')
    assert capsys.readouterr().out == ''
    before = now | {'torch': '2.0.0', 'source of cosub_mm': 'abc'}
    compare_with_checkpoint(Config(copy.deepcopy(CFG)), recorded(code=before), 'stop')
    said = capsys.readouterr().out
    assert f'torch 2.0.0 -> {now["torch"]}' in said
    assert 'source of cosub_mm abc -> ' in said and 'mmengine' not in said


def test_a_checkpoint_without_a_config_and_of_another_version_are_said(capsys):
    compare_with_checkpoint(Config(copy.deepcopy(CFG)), dict(epoch=1, iter=1), 'stop')
    assert 'holds no config' in capsys.readouterr().out
    compare_with_checkpoint(Config(copy.deepcopy(CFG)), recorded(cosub_mm_version='0.0.0'), 'stop')
    assert 'cosub_mm 0.0.0' in capsys.readouterr().out


def test_restoring_leaves_the_rest_alone():
    cfg = changed('optim_wrapper.optimizer.lr', 1e-4)
    cfg.train_dataloader.num_workers = 9
    cfg.work_dir = 'elsewhere'
    restore(cfg, CFG, changes_between(CFG, cfg))
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.train_dataloader.num_workers == 9
    assert cfg.work_dir == 'elsewhere'


@pytest.mark.parametrize(
    ('path', 'old', 'new', 'told'),
    [
        ('optim_wrapper.optimizer.type', 'Lamb', 'CosubLamb', False),
        ('optim_wrapper.optimizer.type', 'mmpretrain.Lamb', 'CosubLamb', False),
        ('model.backbone.type', 'XCiT', 'mmpretrain.CosubXCiT', False),
        ('optim_wrapper.optimizer.type', 'AdamW', 'CosubLamb', True),
        ('optim_wrapper.optimizer.type', 'bitsandbytes.Lamb', 'CosubLamb', True),
        ('model.backbone.type', 'XCiT', 'CosubViT', True),
    ],
)
def test_classes_that_compute_the_same_are_no_change(path, old, new, told):
    def nested(value):
        for name in reversed(path.split('.')):
            value = {name: value}
        return value

    assert bool(changes_between(nested(old), nested(new))) == told
