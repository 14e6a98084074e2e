"""Efficient stochastic depth from the ``custom_hooks`` of any config."""

from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from torch import nn

from cosub_mm.stochastic_depth import (
    apply_stochastic_depth,
    describe,
    realised_drop_rate,
    scale_drop_rates,
)

from ..execution import check_memory_budget

__all__ = ['EfficientDropPathHook']


OVER_TIME = ('late', 'early', 'decreasing')


class WarmupError(ValueError):
    """A rate over time that cannot be followed: too long, or too many rates for torch.compile."""


@HOOKS.register_module()
class EfficientDropPathHook(Hook):
    """Apply stochastic depth at the start of training, warm its rate up, and log it.

    The report is logged once, as a table. Each log interval shows ``drop_rate``, the share of rows
    that were dropped since the last one.
    Processes that share a seed, mmengine's default, are reseeded, so that their draws differ.

    Args:
        drop_rate: rate of all blocks in [0, 1). None keeps the rates of the model, and also
            stochastic depth that is already there.
        schedule: ``'uniform'`` or ``'linear'`` over depth.
        implementation: ``'auto'``, ``'subset'`` or ``'mask'``.
        module: path of the part to apply it to; an empty string is the whole model. By default
            ``backbone`` where the model has one.
        warmup: epochs, or iterations if ``by_epoch`` is False, over which the rate grows linearly
            from 0. The first one trains without drops, the one after the last at the full rate.
            torch.compile compiles each of these rates anew.
        over_time: in the place of a warm-up, a rate that depends on ``until`` (Liu et al., "Dropout
            reduces underfitting", ICML 2023): ``'late'``, 0 before it and then the full rate;
            ``'early'``, the full rate before it and then 0; ``'decreasing'``, from the full rate
            linearly to 0 at ``until``. The first two have one step, so that torch.compile compiles
            two rates; a ramp is as many rates as it has epochs.
        until: epochs, or iterations if ``by_epoch`` is False, that ``over_time`` counts.
        by_epoch: unit of ``warmup`` and ``until``.
        interval: iterations between two values of ``drop_rate``.
        example_input: what the part is called with to search or prove its blocks; in a config its
            shape, e.g. ``(3, 3, 224, 224)``.
        find: ``'drop_path'``, or ``'all'``, which also finds blocks without a DropPath; see
            :func:`cosub_mm.stochastic_depth.apply_stochastic_depth`.

    Raises:
        ValueError: bad arguments, here or of :func:`apply_stochastic_depth`; a rate over time that
            ends outside the training, or of more rates than torch.compile is willing to compile.

    Example::

        custom_hooks = [dict(type='EfficientDropPathHook', drop_rate=0.2, warmup=5)]
        custom_hooks = [dict(type='EfficientDropPathHook', over_time='late', until=50)]
    """

    priority = 'NORMAL'

    def __init__(
        self,
        drop_rate: float | None = None,
        schedule: str = 'uniform',
        implementation: str = 'auto',
        module: str | None = None,
        warmup: int = 0,
        by_epoch: bool = True,
        interval: int = 10,
        example_input: Any = None,
        over_time: str | None = None,
        until: int = 0,
        find: str = 'drop_path',
    ) -> None:
        if warmup < 0 or interval < 1:
            raise ValueError(
                f'warmup={warmup} must be at least 0 and interval={interval} at least 1.'
            )
        _check_over_time(over_time, until, warmup)
        self.settings = (drop_rate, schedule, implementation)
        self.example_input = example_input
        self.find = find
        self.module = module
        self.warmup = warmup
        self.over_time = over_time
        self.until = until
        self.by_epoch = by_epoch
        self.interval = interval

    def before_run(self, runner) -> None:
        """Apply stochastic depth, before other hooks copy the model."""
        target = self._target(runner)
        present = describe(target)
        drop_rate = self.settings[0]
        other = drop_rate is not None and present is not None and present.settings != self.settings
        if present is None or other or self.find != 'drop_path':
            present = apply_stochastic_depth(target, *self.settings, self.example_input, self.find)
        if not getattr(runner, 'train_dataloader', None):
            return
        if _is_compiled(target):  # by code of the user's; the Runner compiles later, and checks
            check_memory_budget()
        batch_size = self._rows(runner)
        runner.logger.info(f'{type(target).__name__}: {present.table(batch_size)}')
        if drop_rate is None and not any(branch.rate for branch in present.blocks):
            runner.logger.warning(
                'EfficientDropPathHook: the drop rate of every block is 0, so nothing is dropped. '
                'Give the hook a drop_rate, or the backbone a drop_path_rate.'
            )

    def before_train(self, runner) -> None:
        """Check the rate over time; let processes that share a seed draw rows of their own."""
        self._check_length(runner)
        self._check_compiled(runner)
        if get_world_size() == 1:
            return
        seeds = all_gather_object(torch.initial_seed())
        if len(set(seeds)) == 1:
            torch.manual_seed(seeds[0] + get_rank())
            runner.logger.info(
                'All processes share one seed and would drop the same rows: each is reseeded with '
                'seed + rank. randomness=dict(diff_rank_seed=True) does so from the start.'
            )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Set the rate of this time."""
        if self.warmup or self.over_time:
            done = runner.epoch if self.by_epoch else runner.iter
            scale_drop_rates(self._target(runner), self.share(done))

    def share(self, done: int) -> float:
        """What part of the full rate holds after ``done`` epochs or iterations, in [0, 1]."""
        if self.over_time == 'late':
            return float(done >= self.until)
        if self.over_time == 'early':
            return float(done < self.until)
        if self.over_time == 'decreasing':
            return max(1 - done / self.until, 0.0)
        return min(done / self.warmup, 1.0) if self.warmup else 1.0

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Hand the realised rate to the log."""
        if self.every_n_train_iters(runner, self.interval) or runner.iter == 0:
            rate = realised_drop_rate(self._target(runner), reset=True)
            runner.message_hub.update_scalar('train/drop_rate', rate)

    def _check_length(self, runner) -> None:
        """A rate that changes after the last step would never change."""
        if not self.over_time:
            return
        length = runner.max_epochs if self.by_epoch else runner.max_iters
        if self.until >= length:
            unit = 'epochs' if self.by_epoch else 'iterations'
            raise WarmupError(
                f'over_time={self.over_time!r} changes the drop rate at until={self.until} '
                f'{unit}, and the training has {length}: it would never do so. Choose an until '
                f'from 1 to {length - 1}, or leave over_time out.'
            )

    def _check_compiled(self, runner) -> None:
        """Beyond its limit torch.compile gives up, and runs the rest of the training uncompiled."""
        ramp = self.until if self.over_time == 'decreasing' else self.warmup
        if not ramp or not _is_compiled(self._target(runner)):
            return
        limit = torch._dynamo.config.recompile_limit
        graphs = ramp + 2  # rates from 0 to the full one, and evaluation
        if graphs > limit:
            name = 'until' if self.over_time else 'warmup'
            raise WarmupError(
                f'{name}={ramp} makes torch.compile compile the model {graphs} times, once '
                f'for each drop rate and for evaluation; it gives up after {limit}. Choose a '
                f'ramp of at most {max(limit - 2, 0)} epochs with by_epoch=True, a step '
                f"(over_time='late' or 'early'), or raise torch._dynamo.config.recompile_limit."
            )

    def _target(self, runner) -> nn.Module:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path = self.module
        if path is None:
            backbone = isinstance(getattr(model, 'backbone', None), nn.Module)
            # Two models that are trained together have a backbone each.
            path = 'backbone' if backbone and not hasattr(model, 'peer') else ''
        try:
            return model.get_submodule(path)
        except AttributeError:
            raise ValueError(
                f'module={path!r} is no part of {type(model).__name__}; it has '
                f'{[name for name, _ in model.named_children()]}.'
            ) from None

    def _rows(self, runner) -> int:
        """Rows of a training batch as the blocks see them, copies included."""
        loader = runner.train_dataloader
        size = loader.get('batch_size') if isinstance(loader, dict) else loader.batch_size
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        return (size or 1) * getattr(model, 'num_submodels', 1)


def _check_over_time(over_time: str | None, until: int, warmup: int) -> None:
    if over_time is None and until:
        raise ValueError(f'until={until} belongs to over_time: choose from {OVER_TIME}.')
    if over_time is None:
        return
    if over_time not in OVER_TIME:
        raise ValueError(f'over_time={over_time!r} is unknown; choose from {OVER_TIME}.')
    if until < 1:
        raise ValueError(f'over_time={over_time!r} needs until, at least 1; got {until}.')
    if warmup:
        raise ValueError(
            f'warmup={warmup} and over_time={over_time!r} both set the drop rate over time: '
            f'leave one of them out.'
        )


def _is_compiled(model: nn.Module) -> bool:
    """Whether ``model`` or a part of it is compiled, by ``torch.compile`` or ``compile()``."""
    return any(
        module._compiled_call_impl is not None or hasattr(module, '_orig_mod')
        for module in model.modules()
    )
