"""A signal to a whole process group stops a training, not the workers that load its data."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from mmengine.hooks import Hook

from cosub_mm.engine.runner import CosubRunner
from cosub_mm.launch.errors import Interrupted
from cosub_mm.launch.interruption import StopHook, StopSignals
from cosub_mm.launch.isolation import own_instances
from tests.engine.toy import config


def send(pids: list[int], number: int) -> None:
    """From a process of its own, as a launcher does."""
    sender = os.fork()
    if sender == 0:
        for pid in pids:
            os.kill(pid, number)
        os._exit(0)
    os.waitpid(sender, 0)


class SignalToGroup(Hook):
    """Sends a signal to the process and its workers in the second step."""

    def __init__(self, number: int) -> None:
        self.number = number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 1:
            self.workers = [child.pid for child in multiprocessing.active_children()]
            send([*self.workers, os.getpid()], self.number)
            time.sleep(0.3)  # a worker that ends is noticed here


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
def test_stopped_behind_the_step_with_its_checkpoint(tmp_path, number):
    cfg = config(tmp_path, images=12)
    cfg.train_dataloader.num_workers = 2
    hook = SignalToGroup(number)
    with own_instances(), StopSignals() as signals:
        runner = CosubRunner.from_cfg(cfg)
        runner.register_hook(hook)
        runner.register_hook(StopHook(signals))
        with pytest.raises(Interrupted, match=r'behind iteration 2; saved to .*iter_2\.pth'):
            runner.train()
    assert len(hook.workers) == 2
    assert torch.load(tmp_path / 'iter_2.pth', weights_only=False)['meta']['iter'] == 2


def test_a_process_can_end_its_own_workers(tmp_path):
    before = {child.pid for child in multiprocessing.active_children()}
    loader = CosubRunner.build_dataloader(
        dict(config(tmp_path).train_dataloader, num_workers=2, prefetch_factor=1)
    )
    batches = iter(loader)
    next(batches)
    workers = [c for c in multiprocessing.active_children() if c.pid not in before]
    assert len(workers) == 2
    send([worker.pid for worker in workers], signal.SIGTERM)
    time.sleep(0.2)
    assert all(worker.is_alive() for worker in workers)
    for worker in workers:
        worker.terminate()
        worker.join(5)
        assert worker.exitcode == 0
