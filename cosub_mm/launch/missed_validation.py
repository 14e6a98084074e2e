"""A validation that a run was killed in front of, behind the checkpoint before it."""

from bisect import bisect
from contextlib import suppress
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, master_only
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from cosub_mm.engine.loops import STEPS_DONE

from .work_dir import checkpoint_folders

__all__ = ['MissedValidationHook', 'missed_last_validation']

NAME = 'last_validation'


class MissedValidationHook(Hook):
    """Run it when the training is resumed; note each validation, so that none is run twice.

    mmengine saves behind an epoch and validates then: a run killed between the two goes on with
    the next epoch, and the curves, the best checkpoint and (at the end) the result lack a point.
    """

    priority = 'LOWEST'  # the best checkpoint is found before, and saved before it is noted

    def before_train(self, runner) -> None:
        """Validate what the checkpoint holds, where that is due and was not done."""
        missed = [_is_due(runner) and not _is_noted(runner.cfg, runner.iter)]
        broadcast_object_list(missed)
        if missed[0]:
            runner.logger.info('The run was ended before this validation: it is done now.')
            runner.val_loop.run()

    @master_only
    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Note the iteration."""
        with suppress(OSError):  # a full disk: it will be validated once more
            (Path(runner.work_dir) / NAME).write_text(str(runner.iter))


def missed_last_validation(cfg: Config, meta: dict) -> bool:
    """Whether a run whose last checkpoint has ``meta`` was not validated at its end."""
    position = meta['epoch' if cfg.train_cfg.get('max_epochs') else 'iter']
    due = bool(cfg.get('val_cfg') is not None) and position >= cfg.train_cfg.get('val_begin', 1)
    return due and not _is_noted(cfg, meta['iter'])


def _is_due(runner) -> bool:
    """Whether mmengine's loops validate behind the step at which the run is resumed."""
    loop = runner.train_loop
    if not runner.iter or runner.val_loop is None:
        return False
    by_iter = isinstance(loop, IterBasedTrainLoop)
    if not by_iter and runner.message_hub.runtime_info.get(STEPS_DONE, 0):
        return False  # in the middle of an epoch
    position, end = (
        (runner.iter, runner.max_iters) if by_iter else (runner.epoch, runner.max_epochs)
    )
    # As it was when the step was done: the loops look one step ahead.
    interval = loop.dynamic_intervals[bisect(loop.dynamic_milestones, position + 1) - 1]
    return position >= loop.val_begin and (position % interval == 0 or position == end)


def _is_noted(cfg: Config, iteration: int) -> bool:
    """Whether this run has validated at the iteration; another run's history is not continued."""
    start = cfg.get('load_from')
    own = [Path(folder).absolute() for folder in checkpoint_folders(cfg)]
    if start and Path(start).absolute().parent not in own:
        return True
    try:
        return int((Path(cfg.work_dir) / NAME).read_text()) >= iteration
    except (OSError, ValueError):
        return False
