"""Runs that would end before their schedules, go on behind them, or hold no step at all."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.optim import _ParamScheduler
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from cosub_mm.engine.hooks import EfficientDropPathHook
from cosub_mm.engine.schedulers import DeiTCosineLR

__all__ = ['check_evaluated_data', 'check_run_length', 'follow_run_length']

ACCEPT = 'schedule_of_other_length'
# Schedules that bring the learning rate down and are meant to end where the run ends.
_ANNEALING = ('DeiTCosine', 'CosineAnnealing', 'Poly', 'OneCycle', 'CosineRestart')
# Those of them whose length is one number.
_FOLLOWING = ('DeiTCosine', 'CosineAnnealing', 'Poly')


def check_run_length(runner: Runner) -> None:
    """Stop before a training whose parts disagree about its length.

    A config says the length in ``train_cfg`` and once more in each schedule; mmengine lets a run
    of 8 epochs end at the peak of a schedule of 800, or one of 40 iterations go on at a rate of 0
    behind one of 20, and an epoch without a single batch count as trained.

    Args:
        runner: with loops, optimizer and schedules built.

    Raises:
        ValueError: naming all that disagrees, and what to set.
    """
    check_evaluated_data(runner.val_loop, 'val')
    faults = [*_empty(runner)]
    if not faults:
        faults = [*_intervals(runner), *_warmups(runner)]
        if not runner.cfg.get(ACCEPT):
            faults += _schedules(runner)
    if faults:
        raise ValueError(' Also: '.join(faults))
    for sentence in _once_at_the_end(runner):
        runner.logger.warning(sentence)


def follow_run_length(cfg: Config) -> list[str]:
    """Let the schedule that anneals last end where ``train_cfg`` ends.

    So ``--cfg-options train_cfg.max_epochs=8`` alone makes a short run of a recipe of 800 epochs. A
    warm-up of DeiT's schedule that would fill the run takes its share of it. Any other warm-up or
    step that does not fit stays as it is, and :func:`check_run_length` stops there.

    Args:
        cfg: changed in place; ``schedule_of_other_length=True`` leaves everything as it is.

    Returns:
        Sentences on what had another length.
    """
    by_iter = not cfg.train_cfg.get('max_epochs')
    length = cfg.train_cfg.get('max_iters' if by_iter else 'max_epochs')
    schedules = cfg.get('param_scheduler') or []
    schedules = [schedules] if isinstance(schedules, dict) else schedules
    if not length or cfg.get(ACCEPT):
        return []
    ends = {}
    for i, schedule in enumerate(schedules):
        own_unit = schedule.get('by_epoch', True) is not by_iter
        if own_unit and _name(schedule).startswith(_FOLLOWING) and _configured_end(schedule):
            ends[i] = _configured_end(schedule)
    last = max(ends, key=ends.get, default=None)
    if last is None or ends[last] == length or schedules[last].get('begin', 0) >= length:
        return []
    schedule, said = schedules[last], []
    if 'epochs' in schedule:
        said = _fit_warmup(schedule, length)
        schedule['epochs'] = length
    else:
        schedule['end'] = length
        if schedule.get('T_max'):
            schedule['T_max'] = length - schedule.get('begin', 0)
    key = 'max_iters' if by_iter else 'max_epochs'
    first = f'{_name(schedule)} follows train_cfg.{key}={length} instead of its own {ends[last]}'
    return [first, *said]


def _fit_warmup(schedule: dict, length: int) -> list[str]:
    """Shorten a warm-up in proportion, where the run has no room for it."""
    warmup = schedule.get('warmup_epochs', 5)
    if warmup < length or warmup >= schedule['epochs']:
        return []
    schedule['warmup_epochs'] = warmup * length // schedule['epochs']
    return [
        f'{_name(schedule)}: warmup_epochs={schedule["warmup_epochs"]} instead of {warmup}, in '
        f'proportion, as the run is not longer than the warm-up'
    ]


def _configured_end(schedule: dict) -> int | None:
    if schedule.get('T_max'):
        return schedule.get('begin', 0) + schedule['T_max']
    return schedule.get('epochs') or schedule.get('end')


def _name(schedule: dict) -> str:
    return str(schedule.get('type')).rpartition('.')[2]


def check_evaluated_data(loop: BaseLoop | None, part: str) -> None:
    """Stop before an evaluation of nothing, which mmengine reports as one without metrics.

    Args:
        loop: of validation or test; None where there is none.
        part: ``'val'`` or ``'test'``.

    Raises:
        ValueError: the data set is empty.
    """
    if loop is not None and len(loop.dataloader) == 0:
        raise ValueError(
            f'the data set of {part}_dataloader holds no picture, so nothing would be evaluated. '
            f'Check its data_root, data_prefix, ann_file and suffixes.'
        )


def _empty(runner: Runner) -> Iterator[str]:
    loader = runner.train_loop.dataloader
    images, batch = len(loader.dataset), _batch_size(loader)
    endless = isinstance(loader.sampler, InfiniteSampler) and images > 0
    if len(loader) == 0 and not endless:
        yield (
            f'an epoch has no step: {images} training images, shared by {runner.world_size} '
            f'process(es), do not fill a batch of {batch}, and drop_last leaves the rest out. Use '
            f'a smaller train_dataloader.batch_size, fewer processes, more images, or '
            f'train_dataloader.drop_last=False.'
        )


def _batch_size(loader: DataLoader) -> int | None:
    return loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)


def _intervals(runner: Runner) -> Iterator[str]:
    loop = runner.train_loop
    by_iter = isinstance(loop, IterBasedTrainLoop)
    length, unit = (loop.max_iters, 'iterations') if by_iter else (loop.max_epochs, 'epochs')
    if runner.val_loop is not None and loop.val_begin > length:
        yield (
            f'train_cfg validates from {unit[:-1]} {loop.val_begin} on, and the run has {length}. '
            f'Set train_cfg.val_begin={length} or less.'
        )
    for hook in _checkpoint_hooks(runner):
        if hook.by_epoch and by_iter:
            yield (
                'default_hooks.checkpoint counts epochs, and an iteration-based run has none: '
                'nothing would be saved. Set default_hooks.checkpoint.by_epoch=False.'
            )
        elif _longer_than_the_run(hook, loop) and not hook.save_last:
            own = loop.max_epochs if hook.by_epoch else loop.max_iters
            yield (
                f'default_hooks.checkpoint saves every {hook.interval} '
                f'{"epochs" if hook.by_epoch else "iterations"}, not the last one, and the run has '
                f'{own}: nothing would be saved. Set default_hooks.checkpoint.interval={own} or '
                f'less, or save_last=True.'
            )


def _once_at_the_end(runner: Runner) -> Iterator[str]:
    """Sentences on intervals longer than the run: what they ask for is done at its end."""
    loop = runner.train_loop
    by_iter = isinstance(loop, IterBasedTrainLoop)
    length, unit = (loop.max_iters, 'iterations') if by_iter else (loop.max_epochs, 'epochs')
    long = []
    if runner.val_loop is not None and loop.val_interval > length:
        long.append(f'train_cfg.val_interval={loop.val_interval}')
    for hook in _checkpoint_hooks(runner):
        if _longer_than_the_run(hook, loop):
            long.append(f'checkpoint.interval={hook.interval}')
    if long:
        yield (
            f'the run has {length} {unit}: what {" and ".join(long)} ask(s) for is done once, at '
            f'its end'
        )


def _checkpoint_hooks(runner: Runner) -> list[CheckpointHook]:
    return [h for h in runner.hooks if isinstance(h, CheckpointHook) and h.interval > 0]


def _longer_than_the_run(hook: CheckpointHook, loop: BaseLoop) -> bool:
    own = loop.max_epochs if hook.by_epoch else loop.max_iters
    return max(hook.interval, hook.save_begin) > own


def _warmups(runner: Runner) -> Iterator[str]:
    loop = runner.train_loop
    for hook in runner.hooks:
        if isinstance(hook, EfficientDropPathHook) and hook.warmup:
            length = loop.max_epochs if hook.by_epoch else loop.max_iters
            if hook.warmup > length:
                yield (
                    f'EfficientDropPathHook(warmup={hook.warmup}) reaches its drop rate behind the '
                    f'end of the run ({length}).'
                )


def _schedules(runner: Runner) -> Iterator[str]:
    schedulers = runner.param_schedulers or []
    if isinstance(schedulers, dict):
        schedulers = [scheduler for several in schedulers.values() for scheduler in several]
    loop = runner.train_loop
    by_iter = isinstance(loop, IterBasedTrainLoop)
    last = {}  # where annealing ends, by (name of the parameter, unit)
    for scheduler in schedulers:
        if by_iter and scheduler.by_epoch:
            yield (
                f'{type(scheduler).__name__} counts epochs; an iteration-based run has none, so '
                f'it would never change anything. Give it by_epoch=False.'
            )
            continue
        finish = _finish(scheduler)
        if finish is None:
            continue
        length = loop.max_epochs if scheduler.by_epoch else loop.max_iters
        unit = 'epochs' if scheduler.by_epoch else 'iterations'
        if finish > length:
            yield (
                f'{type(scheduler).__name__} ends after {finish} {unit} and the run after '
                f'{length}: {scheduler.param_name} would stay where the schedule is then. '
                f'{_mend(scheduler, length)}'
            )
        elif _anneals(scheduler):
            key = (scheduler.param_name, unit, length)
            if finish >= last.get(key, (0,))[0]:
                last[key] = (finish, scheduler)
    for (_, unit, length), (finish, scheduler) in last.items():
        if finish < length:
            yield (
                f'{type(scheduler).__name__} ends after {finish} {unit} and the run goes on to '
                f'{length} at the last {scheduler.param_name}. {_mend(scheduler, length)}'
            )


def _mend(scheduler: _ParamScheduler, length: int) -> str:
    keys = 'epochs' if isinstance(scheduler, DeiTCosineLR) else 'end (and T_max, milestones)'
    return (
        f'Set {keys} of param_scheduler for {length}, or train_cfg to the length of the schedule; '
        f'if it is meant so: --cfg-options {ACCEPT}=True.'
    )


def _anneals(scheduler: _ParamScheduler) -> bool:
    return type(scheduler).__name__.startswith(_ANNEALING)


def _finish(scheduler: _ParamScheduler) -> int | None:
    """Where a schedule has done what it does, in its own unit; None where that has no end."""
    begin = scheduler.begin
    if isinstance(scheduler, DeiTCosineLR):
        return begin + scheduler.curve['epochs']
    for name in ('T_max', 'total_steps'):
        if getattr(scheduler, name, None):
            return begin + getattr(scheduler, name)
    if getattr(scheduler, 'periods', None):
        return begin + sum(scheduler.periods)
    if getattr(scheduler, 'milestones', None):
        return begin + max(scheduler.milestones)
    if getattr(scheduler, 'total_iters', None):
        return begin + scheduler.total_iters + 1
    return None
