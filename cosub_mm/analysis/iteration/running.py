"""A Runner that stands before its first iteration."""

import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from .parts import Parts, Way

__all__ = ['NO_LOADER', 'started', 'way_of']


@DATASETS.register_module()
class NoImages(Dataset):
    """Stands in a config where the benchmark hands over the batches."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict:
        return {}


NO_LOADER = dict(
    dataset=dict(type='mmengine.NoImages'),
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
)
"""``train_dataloader`` of such a config."""


def started(runner_class: type[Runner], cfg: dict, hooks: Sequence[Hook] = ()) -> Runner:
    """A Runner of a config with further hooks, all of which have begun to train."""
    with open('/dev/null', 'w') as nowhere, contextlib.redirect_stdout(nowhere):
        runner = runner_class.from_cfg(Config(dict(cfg, log_level='ERROR')))
        for hook in hooks:
            runner.register_hook(hook)
        runner.train_loop  # noqa: B018  built when it is asked for
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        runner.call_hook('before_run')
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
    runner.logger.setLevel(logging.CRITICAL)
    runner.model.train()
    return runner


def way_of(runner: Runner, batch: Callable[[], dict]) -> Way:
    """Its iteration, by part."""
    model, wrapper, parts = runner.model, runner.optim_wrapper, Parts()
    parts.watch(model.data_preprocessor, 'forward', 'preprocessing')
    parts.watch(model, 'loss', 'forward and loss')
    parts.watch(wrapper, 'backward', 'backward')
    parts.watch(wrapper.optimizer, 'step', 'optimizer')
    parts.watch(wrapper, 'zero_grad', 'optimizer')
    parts.watch(wrapper, 'step', 'guard')
    loop = runner.train_loop
    arguments = (0,) if hasattr(loop, 'run_epoch') else ()
    return Way(parts, batch, partial(loop.run_iter, *arguments))
