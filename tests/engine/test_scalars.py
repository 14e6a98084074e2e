"""Numbers for the log stay on the device until they are logged, and are the same."""

import copy
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import EMAHook, LoggerHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cosub_mm.engine import scalars
from cosub_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from cosub_mm.engine.hooks.gradient_hook import GradientHook
from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.interruption import StopHook, StopSignals
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import config

WAITS = ('_local_scalar_dense', 'aten::equal', 'nonzero', 'is_nonzero', 'masked_select')


class Waits(TorchDispatchMode):
    """Notes operators that ask the device for a number, by the step of the training."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.seen, self.found = None, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen += 1
        if any(wait in func.name() for wait in WAITS):
            self.found.append((self.step, func.name()))
        return func(*args, **(kwargs or {}))


def runner_of(work_dir, interval, steps=6):
    wrapper = dict(
        optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
        clip_grad=dict(max_norm=0.5),
        accumulative_counts=1,
    )
    hooks = dict(
        logger=dict(type='LoggerHook', interval=interval),
        checkpoint=dict(type='CheckpointHook', interval=100),
    )
    cfg = config(
        work_dir,
        images=2 * steps,
        optim_wrapper=wrapper,
        default_hooks=hooks,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        log_level='WARNING',
    )
    with own_instances(), StopSignals() as signals:
        runner = CosubRunner.from_cfg(cfg)
        for hook in (FiniteLossHook(), GradientHook(), StopHook(signals)):
            runner.register_hook(hook)
        yield runner


class Lists(TorchFunctionMode):
    """Tells it of ``tolist``, which reads without an operator."""

    def __init__(self, waits: Waits) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.tolist:
            self.waits.found.append((self.waits.step, 'tolist'))
        return func(*args, **(kwargs or {}))


class Note(LoggerHook):
    """The first of all hooks: tells the mode which step it is."""

    priority = 'HIGHEST'

    def __init__(self, mode) -> None:
        super().__init__()
        self.mode = mode

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.mode.step = runner.iter

    def after_train_iter(self, *args, **kwargs):
        pass

    def after_train(self, runner):
        self.mode.step = None


def test_no_step_between_two_log_lines_asks_the_device(tmp_path):
    for runner in runner_of(tmp_path, interval=3):
        with Waits() as mode, Lists(mode):
            runner.register_hook(Note(mode))
            runner.train()
    assert mode.seen > 100
    logging = {2, 5, None}  # behind the third and sixth step, and at the end
    assert not [found for found in mode.found if found[0] not in logging]
    assert [found for found in mode.found if found[0] == 2]  # there it is read: the mode sees it


def lines(folder):
    file = next(folder.glob('*/vis_data/scalars.json'))
    entries = [json.loads(line) for line in file.read_text().splitlines()]
    return [{k: v for k, v in e.items() if 'time' not in k and k != 'memory'} for e in entries]


def test_the_log_is_the_one_that_mmengine_writes(tmp_path, monkeypatch):
    for runner in runner_of(tmp_path / 'late', interval=2):
        runner.train()
    monkeypatch.setattr('cosub_mm.engine.runner.keep_scalars_on_device', lambda hub: None)
    monkeypatch.setattr('cosub_mm.engine.runner.keep_norm_on_device', lambda wrapper: None)
    for runner in runner_of(tmp_path / 'at_once', interval=2):
        runner.train()
    late, at_once = lines(tmp_path / 'late'), lines(tmp_path / 'at_once')
    assert len(late) == 3 and {'loss', 'grad_norm', 'lr'} <= set(late[0])
    assert late == at_once
    saved = [
        torch.load(tmp_path / f / 'epoch_1.pth', weights_only=False)['message_hub']['log_scalars']
        for f in ('late', 'at_once')
    ]
    assert list(saved[0]) == list(saved[1])
    for name in saved[0]:
        assert type(saved[0][name]) is HistoryBuffer
        for a, b in zip(saved[0][name].data, saved[1][name].data, strict=True):
            assert 'time' in name or (np.array_equal(a, b) and a.dtype == b.dtype)


@pytest.mark.parametrize('clone', [copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_a_history_gives_what_mmengines_gives(clone, monkeypatch):
    monkeypatch.setattr(scalars, 'PENDING', 4)
    late, plain = scalars.LateHistory(max_length=7), HistoryBuffer(max_length=7)
    values = [0.1, torch.tensor(0.1), torch.tensor([2.5]), 3, torch.tensor(7), torch.tensor(1.5)]
    values = [*values, torch.tensor(0.3, dtype=torch.bfloat16), *values, float('nan')]
    for i, value in enumerate(values):
        late.update(value, count=i + 1)
        plain.update(value.item() if torch.is_tensor(value) else value, count=i + 1)
        np.testing.assert_equal(late.current(), plain.current())
    for one in (clone(late), late):
        for a, b in zip(one.data, plain.data, strict=True):
            np.testing.assert_array_equal(a, b)
    assert late.mean(3) is not None and type(clone(late)) is HistoryBuffer


def test_a_value_keeps_no_graph_alive_and_wrong_ones_are_refused():
    with own_instances():
        hub = MessageHub.get_instance('late')
        scalars.keep_scalars_on_device(hub)
        x = torch.ones(3, requires_grad=True)
        hub.update_scalar('train/loss', (2 * x).sum())
        hub.update_scalars(dict(a=1, b=dict(value=torch.tensor(2.0), count=3)))
        assert hub.get_scalar('train/loss').current() == 6.0
        assert hub.get_scalar('b').data[1].tolist() == [3]
        with pytest.raises(AssertionError):
            hub.update_scalar('c', torch.ones(2))
        with pytest.raises(AssertionError, match='resumed keys'):
            hub.update_scalar('a', 1, resumed=False)


def test_mmengines_own_runner_asks_in_each_step(tmp_path, monkeypatch):
    """What the tests above would find: otherwise they could not fail."""
    monkeypatch.setattr(CosubRunner, 'build_message_hub', Runner.build_message_hub)
    for runner in runner_of(tmp_path, interval=3):
        with Waits() as mode, Lists(mode):
            runner.register_hook(Note(mode))
            runner.train()
    assert {0, 1, 3, 4} <= {step for step, _ in mode.found}


@pytest.mark.parametrize(
    'kind', ['ExponentialMovingAverage', 'MomentumAnnealingEMA', 'StochasticWeightAverage']
)
def test_an_average_asks_the_device_for_nothing(kind):
    """What lies on the meta device cannot be asked: the count of steps stays on the host."""
    runner = SimpleNamespace(model=torch.nn.Linear(2, 2, device='meta'), iter=0, epoch=0)
    hook = EMAHook(ema_type=kind)
    hook.before_run(runner)
    for _ in range(3):
        hook.after_train_iter(runner, 0)
    assert hook.ema_model.steps.device.type == 'cpu' and int(hook.ema_model.steps) == 3
    with pytest.raises(RuntimeError, match='meta'):
        runner.model.weight.sum().item()
