"""Leave out steps whose loss or gradient is no number, and say of which files they were."""

import math
from pathlib import Path

from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ..finite.batch_dump import (
    FOLDER,
    encode_batch,
    encode_states,
    files_of,
    random_states,
    write_dump,
)
from ..finite.steps import NonFiniteLossError, Step, StepWatch, watch, watches

__all__ = ['FiniteLossHook', 'NonFiniteLossError']

NAMED = 8
DUMPS = 20


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Skip a step whose loss or gradient is infinite or not a number, in all processes alike.

    What it skips is as if the step had not been: weights, moments and counts of the optimizer and
    running statistics are bit by bit those before it (see :class:`.StepWatch`, also for why that
    costs no wait for the device). The log names the files of the batch one step later, and
    ``WORK_DIR/bad_steps`` gets a dump of it, without weights, which
    ``tools/analysis_tools/replay_batch.py`` replays. The tools add this hook to every training.

    Args:
        stop_after: so many such steps in a row end the training; 1 stops at the first, as the code
            of DeiT III does.

    Raises:
        ValueError: ``stop_after`` below 1.
        NonFiniteLossError: so many in a row, or no step of the whole training was taken.
    """

    priority = 'LOWEST'  # what it notes of a step are the random states with which it starts

    def __init__(self, stop_after: int = 10) -> None:
        if stop_after < 1:
            raise ValueError(f'FiniteLossHook: stop_after={stop_after} must be at least 1.')
        self.stop_after = stop_after
        self._dumps = 0

    def before_train(self, runner) -> None:
        """Look at each step from now on."""
        wrappers = runner.optim_wrapper
        for wrapper in wrappers.values() if hasattr(wrappers, 'values') else [wrappers]:
            watch(
                wrapper,
                StepWatch(lambda step, row: self._report(runner, step, row), self.stop_after),
            )
        self._norms = [
            buffer
            for module in runner.model.modules()
            if hasattr(module, 'running_mean')
            for buffer in module.buffers(recurse=False)
        ]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Note what has to be known if the step is bad."""
        batch = (runner.iter + 1, data_batch, random_states())
        for one in watches(runner.optim_wrapper):
            one.begin(batch, self._norms)

    def after_train(self, runner) -> None:
        """See to the last step."""
        for one in watches(runner.optim_wrapper):
            one.finish()

    def _report(self, runner, step: Step, in_a_row: int) -> None:
        files = [name for _, batch, _ in step.batches for name in files_of(batch)]
        losses = [float(loss) for loss in step.losses]
        norm = None if step.norm is None else float(step.norm)
        iteration = step.batches[-1][0] if step.batches else runner.iter
        dump = self._dump(runner, step, losses, norm, iteration)
        told, norms = [(losses, files, dump)], [norm]
        if get_world_size() > 1:
            told, norms = all_gather_object(told[0]), all_gather_object(norm)
        if step.in_parts and norm is not None:
            norm = math.hypot(*norms)
        text = '; '.join(_process(rank, *one) for rank, one in enumerate(told))
        if not is_main_process():
            return  # mmengine's loggers of the other processes print errors, too
        gradient = '' if norm is None else f'the norm of the gradients is {norm:.4g}, '
        runner.logger.error(
            f'Iteration {iteration} is left out, number {in_a_row} in a row of at most '
            f'{self.stop_after}: {gradient}{text}.'
        )

    def _dump(self, runner, step: Step, losses, norm, iteration: int) -> str:
        if self._dumps >= DUMPS:
            return 'no dump any more'
        self._dumps += 1
        content = dict(
            iteration=iteration,
            epoch=runner.epoch,
            rank=get_rank(),
            world_size=get_world_size(),
            seed=runner.seed,
            config=Path(runner.cfg.filename).name if runner.cfg.filename else '',
            losses=losses,
            norm=norm,
            batches=[
                dict(
                    iteration=number,
                    files=files_of(batch),
                    batch=encode_batch(batch),
                    seeds=encode_states(seeds),
                )
                for number, batch, seeds in step.batches
            ],
        )
        try:
            return (
                f'dump {write_dump(Path(runner.work_dir) / FOLDER, iteration, get_rank(), content)}'
            )
        except OSError as error:
            return f'no dump ({error})'


def _process(rank: int, losses: list[float], files: list[str], dump: str) -> str:
    names = ', '.join(files[:NAMED]) or 'unknown'
    more = f' and {len(files) - NAMED} more' if len(files) > NAMED else ''
    values = ', '.join(f'{loss:.4g}' for loss in losses)
    return f'process {rank} has the loss {values} of the files {names}{more} ({dump})'
