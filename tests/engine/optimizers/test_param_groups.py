"""Merged parameter groups: fewer of them, and the same settings for every tensor."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from cosub_mm.analysis.complexity import meta_device
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import config

ROOT = Path(__file__).parents[3] / 'configs'
PARAMWISE = dict(norm_decay_mult=0.0, bias_lr_mult=2.0)


def settings(model, optimizer):
    names = {id(p): name for name, p in model.named_parameters()}
    keys = ('lr', 'weight_decay', 'lr_scale', 'momentum')
    return {
        names[id(p)]: {key: group[key] for key in keys if key in group}
        for group in optimizer.param_groups
        for p in group['params']
    }


@pytest.mark.parametrize(
    ('recipe', 'groups'),
    [
        ('cosub/vit-s_in1k', 2),
        ('cosub/resnet50_in1k-600e', 2),
        ('ade20k/upernet_swin-t_512', 2),
        ('ade20k/upernet_vit-b_512', 2),
    ],
)
def test_the_same_for_each_tensor_of_a_recipe(recipe, groups):
    cfg = Config.fromfile(ROOT / f'{recipe}.py')
    init_default_scope(cfg.default_scope)
    with meta_device():
        model = MODELS.build(cfg.model)
    stock = build_optim_wrapper(model, cfg.optim_wrapper.copy()).optimizer
    cfg.optim_wrapper.constructor = 'mmengine.CosubMergedGroups'
    merged = build_optim_wrapper(model, cfg.optim_wrapper.copy()).optimizer
    assert settings(model, merged) == settings(model, stock)
    assert len(stock.param_groups) > 100
    assert len(merged.param_groups) == groups


def _runner(tmp_path, **changes):
    cfg = config(tmp_path, images=8, **changes)
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        runner.train()
    return runner


def _rates(runner):
    return sorted(group['lr'] for group in runner.optim_wrapper.optimizer.param_groups)


def test_schedules_and_scaling_reach_every_group(tmp_path):
    """Weights, norms and biases with a rate of their own: half of the images, half of the rates."""
    wrapper = dict(
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.1),
        paramwise_cfg=PARAMWISE,
    )
    runner = _runner(
        tmp_path,
        optim_wrapper=wrapper,
        auto_scale_lr=dict(enable=True, base_batch_size=4),
        param_scheduler=dict(type='MultiStepLR', milestones=[2], gamma=0.1),
    )
    groups = runner.optim_wrapper.optimizer.param_groups
    assert len(groups) == 3
    assert _rates(runner) == pytest.approx([0.0005, 0.0005, 0.001])


@pytest.mark.parametrize('optimizer', ['SGD', 'AdamW', 'CosubLamb'])
def test_resumes_a_checkpoint_of_one_group_a_tensor(tmp_path, monkeypatch, optimizer):
    """Training on from the checkpoint of mmengine's constructor equals training without a stop."""
    kind = dict(SGD=dict(momentum=0.9)).get(optimizer, {})
    setup = dict(
        optimizer=dict(type=optimizer, lr=0.01, weight_decay=0.1, **kind), paramwise_cfg=PARAMWISE
    )
    stock = dict(setup, constructor='DefaultOptimWrapperConstructor')
    schedule = dict(type='MultiStepLR', milestones=[3], gamma=0.1)
    options = dict(param_scheduler=schedule, train_cfg=dict(by_epoch=True, max_epochs=4))
    whole = _runner(tmp_path / 'whole', optim_wrapper=stock, **options)
    assert len(whole.optim_wrapper.optimizer.param_groups) == 4
    checkpoint = str(tmp_path / 'whole/epoch_2.pth')
    # The toy's config holds tensors, which are written into checkpoints as code.
    monkeypatch.setenv('COSUB_TRUST_CHECKPOINT', '1')
    again = _runner(
        tmp_path / 'again', optim_wrapper=setup, resume=True, load_from=checkpoint, **options
    )
    assert len(again.optim_wrapper.optimizer.param_groups) == 3
    assert settings(again.model, again.optim_wrapper.optimizer) == settings(
        whole.model, whole.optim_wrapper.optimizer
    )
    for a, b in zip(again.model.parameters(), whole.model.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


class _Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.layer = nn.Linear(3, 2)


def _build(paramwise, constructor):
    net = _Net()
    cfg = dict(
        optimizer=dict(type='AdamW', lr=0.1, weight_decay=0.1),
        paramwise_cfg=paramwise,
        constructor=constructor,
    )
    return build_optim_wrapper(net, cfg).optimizer


def test_moments_go_to_their_own_tensor():
    """Merging puts the layer's weight first or last, not where the old file has it."""
    old = _build(dict(norm_decay_mult=0.0, bias_decay_mult=0.0), 'DefaultOptimWrapperConstructor')
    new = _build(dict(norm_decay_mult=0.0, bias_decay_mult=0.0), 'mmengine.CosubMergedGroups')
    for i, group in enumerate(old.param_groups):
        for p in group['params']:
            p.grad = torch.full_like(p, i + 1.0)
    old.step()
    new.load_state_dict(old.state_dict())
    first = {  # as the names are in the old optimizer: norm.weight, norm.bias, layer.weight, bias
        id(p): value
        for group, value in zip(old.param_groups, (0.1, 0.2, 0.3, 0.4))
        for p in group['params']
    }
    assert len(new.param_groups) == 2
    order = [p for group in new.param_groups for p in group['params']]
    shapes = {(3,): (0.1, 0.2), (2, 3): (0.3,), (2,): (0.4,)}
    for p in order:
        value = new.state[p]['exp_avg'].flatten()[0].item()
        assert round(value, 6) in shapes[tuple(p.shape)]
    assert sorted(round(s['exp_avg'].flatten()[0].item(), 6) for s in new.state.values()) == sorted(
        first.values()
    )


@pytest.mark.parametrize(
    ('paramwise', 'message'),
    [
        (dict(norm_decay_mult=0.5, bias_decay_mult=0.0), 'differ in weight_decay'),
        (dict(norm_decay_mult=0.0, bias_decay_mult=0.5), 'differ in weight_decay'),
    ],
)
def test_other_settings_in_the_checkpoint_are_named(paramwise, message):
    old = _build(paramwise, 'DefaultOptimWrapperConstructor')
    new = _build(dict(norm_decay_mult=0.0, bias_decay_mult=0.0), 'mmengine.CosubMergedGroups')
    with pytest.raises(ValueError, match=f'{message}.*load_from'):
        new.load_state_dict(old.state_dict())


def test_another_number_of_groups_is_named():
    old = _build(
        dict(norm_decay_mult=0.5, bias_decay_mult=0.0, bias_lr_mult=2.0),
        'mmengine.CosubMergedGroups',
    )
    new = _build(dict(norm_decay_mult=0.0, bias_decay_mult=0.0), 'mmengine.CosubMergedGroups')
    with pytest.raises(ValueError, match=r'checkpoint has 3 parameter groups, this one has 2'):
        new.load_state_dict(old.state_dict())
