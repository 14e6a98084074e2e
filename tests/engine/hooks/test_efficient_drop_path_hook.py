"""The hook in a real training: it applies, warms up, logs, and refuses."""

import json
from types import SimpleNamespace

import mmpretrain.registry
import pytest
import timm
import torch
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from cosub_mm.engine.hooks import EfficientDropPathHook
from cosub_mm.stochastic_depth import apply_stochastic_depth, describe


class Net(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = timm.create_model(
            'vit_tiny_patch16_224', depth=2, embed_dim=24, img_size=32, num_classes=0
        )
        self.head = nn.Linear(24, 2)

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.head(self.backbone(inputs)).square().mean()}


def train(tmp_path, hook, epochs=2, model=None, by_epoch=True):
    model = model or Net()
    images = [{'inputs': torch.randn(3, 32, 32)} for _ in range(16)]
    train_cfg = (
        dict(by_epoch=True, max_epochs=epochs)
        if by_epoch
        else dict(by_epoch=False, max_iters=epochs)
    )

    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        train_dataloader=dict(
            batch_size=4,
            dataset=images,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.01)),
        custom_hooks=[hook],
        default_hooks=dict(logger=dict(type='LoggerHook', interval=2)),
        log_processor=dict(by_epoch=by_epoch),
        experiment_name=tmp_path.name,
    )
    runner.train()
    scalars = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    log = next(tmp_path.glob('*/*.log')).read_text()
    return runner, [json.loads(line) for line in scalars], log


def test_it_applies_reports_once_and_logs_the_rate(tmp_path):
    hook = dict(type='EfficientDropPathHook', drop_rate=0.5, interval=2)
    runner, scalars, log = train(tmp_path, hook)
    report = describe(runner.model.backbone)
    assert [b.rate for b in report.blocks] == [0.5] * 4
    assert log.count('Stochastic depth, 4 branches, 4 rows a batch') == 1
    rates = [line['drop_rate'] for line in scalars if 'loss' in line]
    assert rates and rates == pytest.approx([0.5] * len(rates))  # 2 of 4 rows, each time


def test_the_rate_warms_up_over_epochs(tmp_path):
    hook = dict(type='EfficientDropPathHook', drop_rate=0.5, warmup=2, interval=4)
    _, scalars, _ = train(tmp_path, hook, epochs=4)
    by_epoch = {line['epoch']: line['drop_rate'] for line in scalars if 'loss' in line}
    assert [by_epoch[e] for e in (1, 2, 3, 4)] == pytest.approx([0, 0.25, 0.5, 0.5], abs=0.06)


def test_the_rate_warms_up_over_iterations(tmp_path):
    hook = dict(type='EfficientDropPathHook', drop_rate=0.5, warmup=8, by_epoch=False)
    runner, _, _ = train(tmp_path, hook, epochs=5, by_epoch=False)
    assert {b.rate for b in describe(runner.model.backbone).blocks} == {0.5 * 4 / 8}


OVER_TIME = {
    'late': [0, 0, 0.5, 0.5],
    'early': [0.5, 0.5, 0, 0],
    'decreasing': [0.5, 0.25, 0, 0],
}


@pytest.mark.parametrize('over_time', OVER_TIME)
def test_the_rate_over_time(tmp_path, over_time):
    """One step at the second epoch, or a ramp up to it; what was dropped is counted."""
    hook = dict(
        type='EfficientDropPathHook', drop_rate=0.5, over_time=over_time, until=2, interval=4
    )
    _, scalars, _ = train(tmp_path, hook, epochs=4)
    by_epoch = {line['epoch']: line['drop_rate'] for line in scalars if 'loss' in line}
    assert list(by_epoch.values()) == pytest.approx(OVER_TIME[over_time], abs=0.06)


@pytest.mark.parametrize(
    ('settings', 'told'),
    [
        (dict(over_time='never', until=1), "'late', 'early', 'decreasing'"),
        (dict(over_time='late'), 'needs until, at least 1; got 0'),
        (dict(until=3), 'until=3 belongs to over_time'),
        (dict(over_time='late', until=1, warmup=2), 'both set the drop rate'),
        (dict(over_time='early', until=2), r'at until=2 epochs, and the training has 2.*1 to 1'),
        (dict(over_time='late', until=9, by_epoch=False), 'until=9 iterations.*has 8'),
    ],
)
def test_a_rate_over_time_that_cannot_be_followed(tmp_path, settings, told):
    with pytest.raises(ValueError, match=told):
        train(tmp_path, dict(type='EfficientDropPathHook', drop_rate=0.5, **settings))


def test_stochastic_depth_that_is_there_stays(tmp_path):
    model = Net()
    apply_stochastic_depth(model.backbone, 0.3, implementation='subset')
    runner, _, _ = train(tmp_path, dict(type='EfficientDropPathHook'), epochs=1, model=model)
    report = describe(runner.model.backbone)
    assert {(b.rate, b.implementation) for b in report.blocks} == {(0.3, 'subset')}


@pytest.mark.parametrize(('rate', 'warned'), [(None, True), (0.0, False)])
def test_a_model_that_drops_nothing_is_told_of(tmp_path, rate, warned):
    tmp_path = tmp_path / f'rate_{rate}'
    _, _, log = train(tmp_path, dict(type='EfficientDropPathHook', drop_rate=rate), epochs=1)
    assert ('the drop rate of every block is 0' in log) == warned


def test_it_is_known_in_both_registries_by_its_bare_name():
    assert HOOKS.get('EfficientDropPathHook') is EfficientDropPathHook
    assert mmpretrain.registry.HOOKS.get('EfficientDropPathHook') is EfficientDropPathHook


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match='warmup=-1'):
        EfficientDropPathHook(warmup=-1)
    with pytest.raises(ValueError, match=r'must lie in \[0, 1\)'):
        train(tmp_path, dict(type='EfficientDropPathHook', drop_rate=1.0))
    with pytest.raises(ValueError, match=r"module='neck' is no part of Net.*backbone"):
        train(tmp_path, dict(type='EfficientDropPathHook', drop_rate=0.1, module='neck'))


@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize('ramp', [dict(warmup=7), dict(over_time='decreasing', until=7)])
def test_a_ramp_that_torch_compile_would_give_up_on(compiled, ramp, tmp_path):
    model = Net()
    if compiled:
        model.backbone.compile(backend='eager')
    hook = dict(type='EfficientDropPathHook', drop_rate=0.1, **ramp)
    if compiled:
        # Importing timm.optim, as other tests do, raises torch's limit from 8 to a million.
        told = r"9 times.*gives up after 8.*at most 6 epochs.*'late' or 'early'"
        with torch._dynamo.config.patch(recompile_limit=8), pytest.raises(ValueError, match=told):
            train(tmp_path, hook, epochs=8, model=model)
        return
    train(tmp_path, hook, epochs=8, model=model)


def test_a_compiled_backbone_under_a_memory_budget_is_refused(tmp_path):
    model = Net()
    model.backbone.compile(backend='eager')
    hook = dict(type='EfficientDropPathHook', drop_rate=0.3)
    with (
        torch._functorch.config.patch(activation_memory_budget=0.5),
        pytest.raises(ValueError, match='activation_memory_budget=0.5'),
    ):
        train(tmp_path, hook, model=model)


def test_a_compiled_backbone_logs_the_rate_of_its_rows(tmp_path):
    model = Net()
    model.backbone.compile(backend='eager')
    hook = dict(type='EfficientDropPathHook', drop_rate=0.3, interval=2)
    _, scalars, _ = train(tmp_path, hook, model=model)
    rates = [line['drop_rate'] for line in scalars if 'loss' in line]
    assert len(set(rates)) > 1 and sum(rates) / len(rates) == pytest.approx(0.3, abs=0.15)


@pytest.mark.parametrize(('seeds', 'expected'), [([7, 7], 8), ([7, 9], 7)])
def test_processes_with_one_seed_draw_on_their_own(monkeypatch, seeds, expected):
    hooks = 'cosub_mm.engine.hooks.efficient_drop_path_hook'
    monkeypatch.setattr(f'{hooks}.get_world_size', lambda: 2)
    monkeypatch.setattr(f'{hooks}.get_rank', lambda: 1)
    monkeypatch.setattr(f'{hooks}.all_gather_object', lambda seed: seeds)
    torch.manual_seed(7)
    messages = []
    logger = SimpleNamespace(info=messages.append)
    EfficientDropPathHook(0.1).before_train(SimpleNamespace(logger=logger))
    assert torch.initial_seed() == expected
    assert len(messages) == (expected == 8)
