"""Random numbers that depend on seed, step and process only: a resumed run repeats them."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS

from ..seeds import EPOCH, STEP, seed_all

__all__ = ['EpochSeedHook', 'seed_worker']


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseed Python, numpy and torch at the start of every epoch and step.

    mmengine's checkpoints hold no random state: a resumed run would draw the dropped rows and the
    mixing of its first epochs again. Drawn from (seed, step, rank) they are the same whether the
    run was interrupted or not, wherever that was, and differ between processes, as in the code of
    DeiT III (``seed + rank``). What is random in loading has numbers of its own: see
    :mod:`cosub_mm.engine.batches`.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        """Seed this process, and so the workers that it starts, for the epoch or what is left."""
        seed_all(EPOCH, runner.seed, get_rank(), runner.epoch, runner.iter)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed this process for the step."""
        seed_all(STEP, runner.seed, get_rank(), runner.iter)


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a data-loading worker from torch's own base seed, which is drawn anew every epoch.

    mmengine's default gives a worker the same seed in each epoch, so that short-lived workers
    repeat their augmentations. :mod:`cosub_mm.engine.batches` seeds later, for each batch.

    Args:
        worker_id: index of the worker; torch has already added it to the base seed.
    """
    del worker_id
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
