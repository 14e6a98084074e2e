"""Validate, in every process, the statistics that the checkpoint holds."""

from mmengine.dist import broadcast, get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

__all__ = ['ValidatedBuffersHook']


@HOOKS.register_module()
class ValidatedBuffersHook(Hook):
    """Take the running statistics of norms from the first process before each validation.

    A BatchNorm that is not synchronised gathers statistics of its own in each process, and mmengine
    saves those of the first. A validation in which each process used its own would be one of a
    model that nobody has, and another one in a run that was resumed. Training does not use them.
    """

    priority = 'LOWEST'  # an average of the weights (EMA) is put in before, its buffers included

    def before_val_epoch(self, runner) -> None:
        """Broadcast them."""
        if get_world_size() > 1:
            for module in runner.model.modules():
                if getattr(module, 'track_running_stats', False):
                    for statistic in module.buffers(recurse=False):
                        broadcast(statistic)
