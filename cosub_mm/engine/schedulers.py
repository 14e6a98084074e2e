"""The learning-rate curve of DeiT III."""

import math

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.registry import PARAM_SCHEDULERS

__all__ = ['DeiTCosineLR', 'deit_lr']


def deit_lr(
    t: int,
    lr: float,
    epochs: int,
    warmup_epochs: int = 5,
    warmup_lr: float = 1e-6,
    min_lr: float = 1e-5,
) -> float:
    """Learning rate after ``t`` epochs, as timm's CosineLRScheduler has it for DeiT.

    The cosine runs over all epochs from the first one, and the warm-up replaces its beginning.

    Args:
        t: finished epochs.
        lr: peak learning rate.
        epochs: length of the cosine.
        warmup_epochs: epochs of the linear warm-up.
        warmup_lr: learning rate at its start.
        min_lr: learning rate at the end of the cosine.
    """
    if t < warmup_epochs:
        return warmup_lr + t * (lr - warmup_lr) / warmup_epochs
    return min_lr + (lr - min_lr) * (1 + math.cos(math.pi * t / epochs)) / 2


@PARAM_SCHEDULERS.register_module()
class DeiTCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up and cosine decay, epoch by epoch, as in the code of DeiT III.

    DeiT steps its scheduler with the index of the epoch that has just ended, so epoch e is trained
    with the value of epoch e - 1: the first two epochs run at ``warmup_lr`` and the peak comes at
    epoch ``warmup_epochs`` + 1.

    Args:
        optimizer: the optimizer or its wrapper.
        epochs: length of the schedule.
        warmup_epochs: epochs of the warm-up.
        warmup_lr: learning rate of the first epoch, per unit of ``lr_scale``.
        min_lr: learning rate at the end, per unit of ``lr_scale``.
        **kwargs: ``begin``, ``end``, ``last_step``, ``verbose`` of mmengine's schedulers.

    A parameter group with an ``lr_scale`` (layer decay) has all of the curve scaled, as in timm.

    Raises:
        ValueError: ``by_epoch=False``, or a warm-up that is not shorter than the schedule.
    """

    def __init__(
        self,
        optimizer,
        epochs: int,
        warmup_epochs: int = 5,
        warmup_lr: float = 1e-6,
        min_lr: float = 1e-5,
        **kwargs,
    ) -> None:
        if not kwargs.get('by_epoch', True):
            raise ValueError('DeiTCosineLR changes the learning rate once an epoch; drop by_epoch.')
        if not 0 <= warmup_epochs < epochs:
            raise ValueError(
                f'warmup_epochs={warmup_epochs} must be at least 0 and below epochs={epochs}.'
            )
        self.curve = dict(
            epochs=epochs, warmup_epochs=warmup_epochs, warmup_lr=warmup_lr, min_lr=min_lr
        )
        super().__init__(optimizer, **kwargs)

    def _get_value(self) -> list[float]:
        t = max(self.last_step - 1, 0)
        values = []
        for group, base in zip(self.optimizer.param_groups, self.base_values):
            scale = group.get('lr_scale', 1.0)
            values.append(scale * deit_lr(t, base / scale, **self.curve))
        return values
