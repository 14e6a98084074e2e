import pytest
import torch
from mmengine.config import Config

from cosub_mm.checks.walk import datasets_of
from cosub_mm.engine.amp import set_amp
from cosub_mm.engine.batch_size import check_batch_size, lr_factor
from cosub_mm.launch.config import add_training_hooks, set_data_root, set_dataloader_defaults
from cosub_mm.launch.option_merge import check_options
from cosub_mm.launch.tta import enable_tta


def config(**more) -> Config:
    loader = dict(batch_size=4, num_workers=2, dataset=dict(type='A', data_root='x'))
    base = dict(
        default_scope='mmpretrain',
        model=dict(type='M', backbone=dict(type='B', drop_rate=0.1)),
        train_dataloader=loader,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    )
    return Config(dict(base, **more))


@pytest.mark.parametrize(
    'path',
    [
        'model.drop_path_rate',
        'model.backbone.drop_path_rate',
        'model.train_cfg.augments.type',
        'find_unused_parameters',
        'param_scheduler.0.T_max',
        'train_dataloader.dataset.pipeline.0.type',
        'load_from',
    ],
)
def test_new_settings_are_allowed(path):
    check_options(config(param_scheduler=[dict(type='C')]), {path: 1})


@pytest.mark.parametrize(
    'path, near',
    [
        ('modle.type', 'model'),
        ('optim_wraper.optimizer.lr', 'optim_wrapper'),
        ('optim_wrapper.optimiser.lr', 'optimizer'),
        ('model.bakbone.drop_rate', 'backbone'),
        ('lerning_rate', 'cfg-options'),
    ],
)
def test_misspelt_settings_are_refused(path, near):
    with pytest.raises(ValueError, match=near):
        check_options(config(), {path: 1})


def test_data_root_reaches_wrapped_data_sets(tmp_path):
    inner = [dict(type='A', data_root='a'), dict(type='B')]
    wrapped = dict(type='Repeat', dataset=dict(type='Concat', datasets=inner))
    cfg = config(val_dataloader=dict(dataset=wrapped), test_dataloader=None)
    set_data_root(cfg, str(tmp_path))
    assert [d.data_root for _, d in datasets_of(cfg)] == [str(tmp_path)] * 3
    assert 'data_root' not in cfg.val_dataloader.dataset


@pytest.mark.parametrize(
    'scope, collate', [('mmpretrain', 'default_collate'), ('mmseg', 'pseudo_collate')]
)
def test_collating_follows_the_task(scope, collate):
    cfg = config(default_scope=scope, val_dataloader=dict(collate_fn=dict(type='own')))
    cfg.train_dataloader.update(num_workers=0, persistent_workers=True)
    set_dataloader_defaults(cfg)
    assert cfg.train_dataloader.collate_fn.type == collate
    assert cfg.val_dataloader.collate_fn.type == 'own'
    # torch refuses persistent workers that do not exist.
    assert cfg.train_dataloader.persistent_workers is False
    assert cfg.train_dataloader.pin_memory == torch.cuda.is_available()


def test_hooks_are_added_once():
    cfg = config(custom_hooks=[dict(type='EpochSeedHook')])
    add_training_hooks(cfg)
    add_training_hooks(cfg)
    types = [hook['type'] for hook in cfg.custom_hooks]
    assert types.count('EpochSeedHook') == 1 and types.count('mmengine.FiniteLossHook') == 1
    assert not any(kind == 'mmengine.EpochSeedHook' for kind in types)


def test_another_batch_than_the_recipes():
    cfg = config(auto_scale_lr=dict(base_batch_size=64))
    cfg.optim_wrapper.accumulative_counts = 2
    with pytest.raises(ValueError, match='global batch of 64 images; this run has 16 .*by 0.25'):
        check_batch_size(cfg, world_size=2)
    check_batch_size(cfg, world_size=8)
    cfg.auto_scale_lr.enable = True
    check_batch_size(cfg, world_size=2)
    cfg.auto_scale_lr = None
    check_batch_size(cfg, world_size=2)


def test_lr_rules():
    assert lr_factor(dict(base_batch_size=64), 16) == 0.25
    assert lr_factor(dict(base_batch_size=64, rule='sqrt'), 16) == 0.5
    with pytest.raises(ValueError, match='linear, sqrt'):
        lr_factor(dict(base_batch_size=64, rule='cubic'), 16)
    with pytest.raises(ValueError, match='base_batch_size'):
        lr_factor({}, 16)


def test_amp_choices(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    cfg = config()
    assert set_amp(cfg, 'auto') == 'bf16'
    assert cfg.optim_wrapper.type == 'mmengine.Bf16OptimWrapper'
    with pytest.raises(ValueError, match='needs a GPU'):
        set_amp(config(), 'fp16')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = config()
    assert set_amp(cfg, 'auto') == 'fp16'
    assert cfg.optim_wrapper.type == 'mmengine.AmpOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'float16'
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        set_amp(cfg, 'bf16')


def test_the_configs_own_tta_comes_first():
    cfg = config(
        test_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')])),
        tta_pipeline=[dict(type='Mine')],
        tta_model=dict(type='MyTTA'),
    )
    enable_tta(cfg)
    assert cfg.model.type == 'MyTTA' and cfg.model.module.type == 'M'
    assert cfg.test_dataloader.dataset.pipeline == [dict(type='Mine')]


def test_tta_needs_a_packing_step():
    cfg = config(test_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')])))
    with pytest.raises(ValueError, match='tta_pipeline'):
        enable_tta(cfg)
