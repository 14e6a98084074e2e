"""Signals that ask a training to stop: it saves at the next step and says how to go on."""

import os
import signal
import time
from pathlib import Path
from types import FrameType

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size
from mmengine.hooks import Hook

from cosub_mm.engine.answer import Answer
from cosub_mm.engine.hooks.checkpoint_hook import CosubCheckpointHook

from .errors import Interrupted

__all__ = ['STOPPED_VARIABLE', 'StopHook', 'StopSignals']

# torchrun ends with 1 whatever its processes end with; they leave a file for who started it.
STOPPED_VARIABLE = 'COSUB_STOPPED_FILE'
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# A signal to a whole process group arrives twice, by itself and handed on by torchrun.
SAME_SIGNAL_SECONDS = 2.0


class StopSignals:
    """Catch SIGTERM and SIGUSR1 (slurm's warning) while a training runs.

    The first one is noted in ``received``; another one, later, ends the process at once.
    """

    def __init__(self) -> None:
        self.received = 0
        self._since = 0.0
        self._before: dict[int, object] = {}

    def __enter__(self) -> 'StopSignals':
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self.received:
            self.received, self._since = number, time.monotonic()
        elif time.monotonic() - self._since > SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


class StopHook(Hook):
    """Save and stop behind the step in which any process of the run got a signal.

    The processes agree by one reduction of a number a step. On a GPU its result is read a step
    later, when the device has long had it, so that nobody waits: the stop is a step later, too.
    With gradient accumulation it waits for the optimizer's step, for a checkpoint holds no
    gradients.

    Args:
        signals: what has been caught.
    """

    priority = 'LOWEST'  # behind the schedules and regular checkpoints of the step

    def __init__(self, signals: StopSignals) -> None:
        self.signals = signals
        self._asked: Answer | None = None

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Stop if asked to.

        Raises:
            Interrupted: naming the signal and the checkpoint.
        """
        received = self._agree(self.signals.received)
        if not received or not _at_optimizer_step(runner):
            return
        path = _checkpoint_hook(runner).save_now(runner)
        if os.environ.get(STOPPED_VARIABLE):
            Path(os.environ[STOPPED_VARIABLE]).touch()
        raise Interrupted(
            f'stopped by {signal.Signals(received).name} behind iteration {runner.iter + 1}; saved '
            f'to {path}. Go on with --resume.'
        )

    def _agree(self, received: int) -> int:
        """The signal that any process has got, the same in all of them; 0 for none."""
        if get_world_size() == 1:
            return received
        device = get_comm_device()
        flag = torch.full((1,), received, device=device)
        all_reduce(flag, op='max')
        before, self._asked = self._asked, Answer()
        self._asked.request(flag)
        if device.type == 'cpu':  # the reduction itself has waited for the others
            return self._asked.read()
        return 0 if before is None else before.read()


def _at_optimizer_step(runner) -> bool:
    wrappers = runner.optim_wrapper
    wrappers = wrappers.values() if hasattr(wrappers, 'values') else [wrappers]
    return all(wrapper.should_update() for wrapper in wrappers)


def _checkpoint_hook(runner) -> CosubCheckpointHook:
    for hook in runner.hooks:
        if isinstance(hook, CosubCheckpointHook):
            return hook
    hook = CosubCheckpointHook()
    hook.before_train(runner)
    return hook
