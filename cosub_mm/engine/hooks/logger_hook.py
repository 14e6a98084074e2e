"""mmengine's LoggerHook, whose files are no reason to end a training."""

from collections.abc import Callable

from mmengine.hooks import LoggerHook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

__all__ = ['CosubLoggerHook']


@HOOKS.register_module()
class CosubLoggerHook(LoggerHook):
    """A drop-in for mmengine's LoggerHook that goes on when curves cannot be written.

    It logs the last iteration too where a run by iterations is shorter than the interval. Python's
    logging goes on by itself when the disk is full; mmengine's files of scalars raise.

    Args:
        *args: of mmengine's LoggerHook.
        **kwargs: of mmengine's LoggerHook.
    """

    _said = False

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        """Log the step."""
        interval = self.interval
        if isinstance(runner.train_loop, IterBasedTrainLoop) and self.is_last_train_iter(runner):
            self.interval = 1
        self._go_on(runner, super().after_train_iter, *args, **kwargs)
        self.interval = interval

    def after_val_epoch(self, runner, *args, **kwargs) -> None:
        """Log the metrics."""
        self._go_on(runner, super().after_val_epoch, *args, **kwargs)

    def _go_on(self, runner, log: Callable, *args, **kwargs) -> None:
        try:
            log(runner, *args, **kwargs)
        except OSError as error:
            if not self._said:
                runner.logger.error(f'Curves cannot be written: {error}. The training goes on.')
            self._said = True
