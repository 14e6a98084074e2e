"""A step that is no number is as if it had not been, and is never saved."""

import copy
import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import MODELS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cosub_mm.engine.finite import NonFiniteLossError, NonFiniteWeightsError, StepWatch, watch
from cosub_mm.engine.finite.batch_dump import read_dump
from cosub_mm.engine.hooks import FiniteLossHook
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import ToyModel, config

NAN = float('nan')


@MODELS.register_module(force=True)
class SickModel(ToyModel):
    """Its loss or, with a finite loss, a gradient is no number where the data say so."""

    sick: tuple[int, ...] = ()  # images
    gradient = False

    def __init__(self) -> None:
        super().__init__()
        self.batch_norm = nn.BatchNorm1d(3)

    def forward(self, x, mode='loss'):
        sick = any(float(row[0]) in self.sick for row in x)
        x = self.batch_norm(x / 10 + (NAN if sick and not self.gradient else 0))
        loss = super().forward(x, mode)
        if sick and self.gradient:
            loss['loss'].register_hook(lambda gradient: gradient * NAN)
        return loss


class Notes(Hook):
    priority = 'LOWEST'

    def before_train_iter(self, runner, *args, **kwargs):
        self.before = copy.deepcopy(state(runner))

    def after_train_iter(self, runner, *args, **kwargs):
        self.steps.append((runner.iter, self.before, copy.deepcopy(state(runner))))

    def __init__(self) -> None:
        self.steps = []


def state(runner) -> dict:
    return dict(runner.model.state_dict())


OPTIMIZERS = {
    'SGD': dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1),
    'AdamW': dict(type='AdamW', lr=0.1, weight_decay=0.1),
    'fused AdamW': dict(type='AdamW', lr=0.1, weight_decay=0.1, fused=True),
    'fused Adam': dict(type='Adam', lr=0.1, amsgrad=True, fused=True),
    'fused SGD': dict(type='SGD', lr=0.1, momentum=0.9, fused=True),
    'CosubLamb': dict(type='CosubLamb', lr=0.1, weight_decay=0.1),
}


def train(folder, monkeypatch, sick=(), gradient=False, stop_after=10, **changes):
    monkeypatch.setattr(SickModel, 'sick', tuple(map(float, sick)))
    monkeypatch.setattr(SickModel, 'gradient', gradient)
    changes.setdefault('optim_wrapper', dict(optimizer=dict(OPTIMIZERS['AdamW'])))
    cfg = config(folder, model=dict(type='SickModel'), **changes)
    notes = Notes()
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        runner.register_hook(FiniteLossHook(stop_after))
        runner.register_hook(notes)
        runner.train()
    return runner, notes


def log_of(folder) -> str:
    return ''.join(file.read_text() for file in folder.rglob('*.log'))


def same(left: dict, right: dict) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def flat(value) -> list:
    if isinstance(value, dict):
        return [one for key in value for one in flat(value[key])]
    if isinstance(value, list | tuple):
        return [one for part in value for one in flat(part)]
    return [value.tolist() if torch.is_tensor(value) else value]


@pytest.mark.parametrize('name', OPTIMIZERS)
@pytest.mark.parametrize(
    ('sick', 'gradient'),
    [(0, False), (3, True), (9, True)],
    ids=['first loss', 'middle gradient', 'last gradient'],
)
def test_a_step_that_is_left_out_has_not_been(name, gradient, sick, tmp_path, monkeypatch):
    """Weights, moments, counts and norms end as those of a training without that batch."""
    schedule = [dict(type='ConstantLR', factor=1.0)]  # the skipped step counts in a schedule
    changes = dict(
        train_cfg=dict(by_epoch=True, max_epochs=1),
        param_scheduler=schedule,
        optim_wrapper=dict(optimizer=dict(OPTIMIZERS[name]), clip_grad=dict(max_norm=1.0)),
    )
    runner, notes = train(tmp_path / 'a', monkeypatch, [sick], gradient, images=10, **changes)
    _, before, after = notes.steps[sick // 2]
    assert same(before, after)

    class Without(Hook):
        """Makes the batch's step none at all."""

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            wrapper, skip = runner.optim_wrapper, batch_idx == sick // 2
            runner.model.train(not skip)  # norms
            wrapper.optimizer.step = (lambda *a, **k: None) if skip else plain

    monkeypatch.setattr(SickModel, 'sick', ())
    cfg = config(tmp_path / 'b', images=10, model=dict(type='SickModel'), **changes)
    with own_instances():
        other = CosubRunner.from_cfg(cfg)
        other.optim_wrapper = other.build_optim_wrapper(other.optim_wrapper)
        plain = other.optim_wrapper.optimizer.step
        other.register_hook(Without())
        other.train()
    assert same(state(runner), state(other))
    assert flat(runner.optim_wrapper.state_dict()) == flat(other.optim_wrapper.state_dict())
    saved = torch.load(tmp_path / 'a/epoch_1.pth', weights_only=False)
    assert same(saved['state_dict'], state(runner))
    assert flat(saved['optimizer']) == flat(other.optim_wrapper.state_dict())


def test_gathered_gradients_are_left_out_together(tmp_path, monkeypatch):
    wrapper = dict(optimizer=dict(OPTIMIZERS['AdamW']), accumulative_counts=2)
    changes = dict(train_cfg=dict(by_epoch=True, max_epochs=1), optim_wrapper=wrapper)
    _, notes = train(tmp_path, monkeypatch, [4], images=12, **changes)
    moved = [not torch.equal(a['layer.weight'], b['layer.weight']) for _, a, b in notes.steps]
    assert moved == [False, True, False, False, False, True]
    norm = 'batch_norm.running_mean'
    assert torch.equal(notes.steps[1][2][norm], notes.steps[3][2][norm])
    dump = read_dump(next(tmp_path.glob('bad_steps/*.pt')))
    assert [batch['iteration'] for batch in dump['batches']] == [3, 4]


@pytest.mark.parametrize('stop_after', [1, 3])
def test_many_in_a_row_end_the_training(stop_after, tmp_path, monkeypatch):
    with pytest.raises(NonFiniteLossError, match=f'^{stop_after} steps? in a row'):
        train(tmp_path, monkeypatch, range(4, 20), stop_after=stop_after, images=20)
    assert 'Iteration 3 is left out, number 1 in a row' in log_of(tmp_path)
    assert not list(tmp_path.glob('*.pth'))


def test_a_training_without_one_good_step_has_failed(tmp_path, monkeypatch):
    with pytest.raises(NonFiniteLossError, match='nothing has been trained'):
        train(tmp_path, monkeypatch, range(6), train_cfg=dict(by_epoch=True, max_epochs=1))


def test_good_steps_between_bad_ones_start_the_count_again(tmp_path, monkeypatch):
    runner, _ = train(tmp_path, monkeypatch, [0, 4], stop_after=2, images=10)
    assert runner.iter == 20
    assert 'number 2 in a row' not in log_of(tmp_path)


@pytest.mark.parametrize('where', ['model', 'average', 'statistics'])
def test_weights_that_are_no_numbers_are_not_saved(where, tmp_path, monkeypatch):
    """Whatever made them so; the checkpoint before stays."""

    class Poison(Hook):
        def after_train_iter(self, runner, *args, **kwargs):
            if runner.iter != 4:
                return
            if where == 'statistics':
                runner.model.batch_norm.running_var.fill_(float('inf'))
                return
            ema = next((h for h in runner.hooks if hasattr(h, 'ema_model')), None)
            model = ema.ema_model.module if where == 'average' else runner.model
            next(model.parameters()).data[0] = NAN

    cfg = config(tmp_path, model=dict(type='SickModel'), custom_hooks=[dict(type='EMAHook')])
    monkeypatch.setattr(SickModel, 'sick', ())
    with own_instances():
        runner = CosubRunner.from_cfg(cfg)
        runner.register_hook(Poison())
        with pytest.raises(NonFiniteWeightsError, match='not saved: '):
            runner.train()
    assert [file.name for file in tmp_path.glob('*.pth')] == ['epoch_1.pth']


@pytest.fixture
def scaler(monkeypatch):
    """mmengine's wrapper with a scaler of gradients, which asks for a GPU."""
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    made = torch.amp.GradScaler('cpu', init_scale=2.0**14)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', lambda: made)
    monkeypatch.setattr(AmpOptimWrapper, 'optim_context', _no_context)
    return made


def _no_context(self, model):
    return nullcontext()


@pytest.mark.parametrize('gradient', [False, True], ids=['loss', 'overflow'])
def test_an_overflow_under_a_scaler_is_no_fault(gradient, scaler, tmp_path, monkeypatch):
    wrapper = dict(type='AmpOptimWrapper', optimizer=dict(OPTIMIZERS['AdamW']))
    changes = dict(train_cfg=dict(by_epoch=True, max_epochs=1), optim_wrapper=wrapper)
    _, notes = train(tmp_path, monkeypatch, [2], gradient, 1 if gradient else 10, **changes)
    assert [same(a, b) for _, a, b in notes.steps] == [False, True, False] or gradient
    assert torch.equal(notes.steps[1][1]['layer.weight'], notes.steps[1][2]['layer.weight'])
    assert scaler.get_scale() == 2.0**13
    assert ('is left out' in log_of(tmp_path)) == (not gradient)


def test_overflow_at_every_scale_is_one(scaler, tmp_path, monkeypatch):
    wrapper = dict(type='AmpOptimWrapper', optimizer=dict(OPTIMIZERS['AdamW']))
    with pytest.raises(NonFiniteLossError, match='no numbers at any scale'):
        train(tmp_path, monkeypatch, range(120), True, images=120, optim_wrapper=wrapper)


@pytest.mark.parametrize(
    'kinds',
    [
        [torch.float32],
        [torch.float32, torch.float64],
        [torch.bfloat16, torch.float16],
        [torch.complex64, torch.float32],
    ],
)
def test_the_norm_is_that_of_all_gradients(kinds):
    """Whatever their kinds; half a precision is no reason to overflow."""
    torch.manual_seed(0)
    values = [4e4 + 1e4 * torch.rand(5, 3, dtype=torch.complex128) for _ in kinds]
    parameters = [nn.Parameter(torch.zeros(5, 3, dtype=kind)) for kind in kinds]
    for parameter, value in zip(parameters, values):
        value = value if parameter.is_complex() else value.real
        parameter.grad = value.to(parameter.dtype)
    expected = math.hypot(*(float(p.grad.abs().double().norm()) for p in parameters))
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    seen = []
    step_watch = StepWatch(lambda step, _: seen.append(float(step.norm)), 3)
    step_watch.begin(None, [])
    step_watch.current.losses.append(torch.tensor(NAN))  # so that it is reported
    step_watch.take(OptimWrapper(optimizer), optimizer.step)
    step_watch.settle()
    assert seen == [pytest.approx(expected, rel=1e-5)]


def test_the_number_in_a_row_is_at_least_one():
    with pytest.raises(ValueError, match='stop_after=0'):
        FiniteLossHook(0)


def test_no_wait_for_the_device():
    """A step reads nothing back: neither numbers nor comparisons of what lies there."""
    seen = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func.name())
            return func(*args, **(kwargs or {}))

    layer = nn.Linear(3, 2)
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9))
    step_watch = StepWatch(lambda *_: None, 3)
    watch(wrapper, step_watch)
    with Record():
        for _ in range(3):
            step_watch.begin(SimpleNamespace(), [])
            wrapper.update_params(layer(torch.ones(1, 3)).sum())
    waits = ('_local_scalar_dense', 'aten::equal', 'nonzero', 'is_nonzero')
    assert seen and not [name for name in seen if any(wait in name for wait in waits)]
