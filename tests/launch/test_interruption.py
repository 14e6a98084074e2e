"""A signal stops a training behind a step, and nothing of the epoch is done twice."""

import os
import signal
import time

import pytest
import torch
from mmengine.hooks import Hook

from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.errors import RESUME_EXIT_CODE, Interrupted, run_tool
from cosub_mm.launch.interruption import StopHook, StopSignals
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import config

MOMENTUM = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.1))
SCHEDULES = [
    dict(type='LinearLR', start_factor=0.1, end=2, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=2, begin=2, end=4, by_epoch=True),
]


class Kill(Hook):
    """Sends a signal to the process in one step, and notes the batches."""

    def __init__(self, step: int | None, number: int) -> None:
        self.step, self.number, self.batches = step, number, []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.batches.append((runner.epoch, runner.iter, batch_idx, data_batch['x'][:, 0].tolist()))
        if runner.iter == self.step:
            os.kill(os.getpid(), self.number)


def epochs(work_dir, **changes):
    changes = dict(images=10, param_scheduler=SCHEDULES, optim_wrapper=dict(MOMENTUM)) | changes
    cfg = config(work_dir, **changes)
    cfg.train_dataloader.sampler.shuffle = True
    return cfg


def iterations(work_dir, **changes):
    hook = dict(type='CheckpointHook', by_epoch=False, interval=6)
    changes = dict(optim_wrapper=dict(MOMENTUM), default_hooks=dict(checkpoint=hook)) | changes
    return config(work_dir, train_cfg=dict(type='IterBasedTrainLoop', max_iters=20), **changes)


def train(cfg, step=None, number=signal.SIGTERM) -> list:
    kill = Kill(step, number)
    with own_instances(), StopSignals() as signals:
        runner = CosubRunner.from_cfg(cfg)
        runner.register_hook(kill)
        runner.register_hook(StopHook(signals))
        runner.train()
    return kill.batches


def names(folder) -> set[str]:
    return {file.name for file in folder.glob('*.pth')}


def resumed(make, work_dir, **changes):
    pointer = (work_dir / 'last_checkpoint').read_text()
    return make(work_dir, resume=True, load_from=pointer, **changes)


# 5 steps an epoch: in the middle of one, and at the end of one.
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(
    'make, step, last',
    [(epochs, 6, 'epoch_4.pth'), (epochs, 9, 'epoch_4.pth'), (iterations, 7, 'iter_20.pth')],
)
def test_stopped_and_resumed_equals_undisturbed(tmp_path, make, step, last, number):
    straight = train(make(tmp_path / 'straight'))
    run = tmp_path / 'run'
    with pytest.raises(Interrupted, match=rf'{number.name}.*iter_{step + 1}\.pth.*--resume'):
        train(make(run), step, number)
    assert f'iter_{step + 1}.pth' in names(run)
    assert not any(file.stem.startswith('.') for file in run.iterdir())
    # The rest of the batches, with the same numbers of epoch, iteration and batch.
    assert train(resumed(make, run)) == straight[step + 1 :]
    one, other = (
        torch.load(tmp_path / folder / last, weights_only=False) for folder in ('straight', 'run')
    )
    for name, weight in one['state_dict'].items():
        assert torch.equal(weight, other['state_dict'][name]), name
    assert names(tmp_path / 'straight') == names(run) - ({'iter_8.pth'} & {f'iter_{step + 1}.pth'})


def test_two_stops_in_one_epoch(tmp_path):
    straight = train(epochs(tmp_path / 'straight'))
    for step in (5, 7):
        cfg = resumed(epochs, tmp_path) if step == 7 else epochs(tmp_path)
        with pytest.raises(Interrupted):
            train(cfg, step)
    assert train(resumed(epochs, tmp_path)) == straight[8:]
    assert not {name for name in names(tmp_path) if name.startswith('iter_')}


def test_gathered_gradients_are_not_lost(tmp_path):
    """Over 3 steps: a signal in the first of them waits for the third."""
    with pytest.raises(Interrupted, match='behind iteration 9;'):
        train(epochs(tmp_path, optim_wrapper=dict(MOMENTUM, accumulative_counts=3)), 6)


def test_a_second_signal_ends_at_once():
    pid = os.fork()
    if pid == 0:
        try:
            with StopSignals():
                for pause in (0, 0, 2.2):  # twice within 2 s is one signal to a process group
                    time.sleep(pause)
                    os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(30)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM


def test_handlers_are_given_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1)
    with StopSignals():
        pass
    assert before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGUSR1))


def test_a_code_of_its_own(capsys):
    def tool(argv):
        raise Interrupted('stopped by SIGTERM')

    assert run_tool(tool) == RESUME_EXIT_CODE == 75
    assert capsys.readouterr().err == 'stopped by SIGTERM\n'
