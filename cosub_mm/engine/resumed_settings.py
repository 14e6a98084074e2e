"""Settings of the config, in place of the checkpoint's, for a run that goes on.

mmengine loads the state of optimizer and schedules as a whole, their settings included, so that a
new learning rate or a longer schedule in the config would be lost without a word.
"""

import warnings
from collections.abc import Iterator

from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

__all__ = ['group_settings', 'take_settings']


def group_settings(optim_wrapper: OptimWrapper | OptimWrapperDict) -> list[dict]:
    """Settings of each parameter group as the config has them, before any schedule changed them.

    Args:
        optim_wrapper: built, schedules or not, and not yet resumed.
    """
    settings = []
    for group in _groups(optim_wrapper):
        first = {k: v for k, v in group.items() if k.startswith('initial_')}
        kept = {k: v for k, v in group.items() if k != 'params' and k not in first}
        settings.append(kept | {k.removeprefix('initial_'): v for k, v in first.items()})
    return settings


def take_settings(runner: Runner, settings: list[dict]) -> None:
    """Give a resumed optimizer the config's settings, and put the config's schedules in place.

    Schedules of mmengine compute a value from the one before, so they are built anew and stepped
    to where the run is: afterwards each value is that of a run of this config from the start.

    Args:
        runner: resumed, its loops built.
        settings: from :func:`group_settings` of the optimizer before it was resumed.
    """
    for group, values in zip(_groups(runner.optim_wrapper), settings, strict=True):
        for name in [name for name in group if name.startswith('initial_')]:
            del group[name]
        group.update(values)
    if runner.cfg.get('param_scheduler') is None:
        return
    runner.param_schedulers = runner.build_param_scheduler(runner.cfg.param_scheduler)
    schedulers = runner.param_schedulers
    if isinstance(schedulers, dict):
        schedulers = [scheduler for several in schedulers.values() for scheduler in several]
    loop = runner.train_loop
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Detected call of `scheduler.step')
        if isinstance(loop, IterBasedTrainLoop):
            _step([s for s in schedulers if not s.by_epoch], [], runner.iter, 0, 1)
        else:
            by_iter = [s for s in schedulers if not s.by_epoch]
            by_epoch = [s for s in schedulers if s.by_epoch]
            _step(by_iter, by_epoch, runner.iter, runner.epoch, len(loop.dataloader))


def _step(by_iter: list, by_epoch: list, iterations: int, epochs: int, length: int) -> None:
    """What mmengine's ParamSchedulerHook does in so many iterations and whole epochs of a length.

    The hook comes to schedules by epoch behind an epoch, so that not all iterations of the last one
    mean that it is over.
    """
    for i in range(1, iterations + 1):
        for scheduler in by_iter:
            scheduler.step()
        if i % length == 0 and i <= epochs * length:
            for scheduler in by_epoch:
                scheduler.step()


def _groups(optim_wrapper: OptimWrapper | OptimWrapperDict) -> Iterator[dict]:
    single = not isinstance(optim_wrapper, OptimWrapperDict)
    for wrapper in [optim_wrapper] if single else optim_wrapper.values():
        yield from wrapper.optimizer.param_groups
