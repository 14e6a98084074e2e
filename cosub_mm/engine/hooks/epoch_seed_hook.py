"""Random numbers that depend on seed, epoch and process only: a resumed run repeats them."""

import random

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import FUNCTIONS, HOOKS
from mmengine.runner import IterBasedTrainLoop

from ..loops import STEPS_DONE

__all__ = ['EpochSeedHook', 'seed_worker']


def _seed_all(*entropy: int) -> None:
    state = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))
    torch.manual_seed(int(state[2]) << 32 | int(state[3]))


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Reseed Python, numpy and torch at the start of every epoch.

    mmengine's checkpoints hold no random state: a resumed run would draw the dropped rows and the
    mixing of its first epochs again. Drawn from (seed, epoch, rank) they are the same whether the
    run was interrupted or not, and differ between processes, as in the code of DeiT III
    (``seed + rank``). In an iteration-based loop the seed is taken once, from the iteration at
    which training starts or goes on.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner) -> None:
        """Seed this process for the epoch that starts."""
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        position = runner.iter if by_iter else runner.epoch
        # The rest of an epoch must not repeat the draws of its start.
        done = runner.message_hub.runtime_info.get(STEPS_DONE, 0)
        _seed_all(runner.seed, position, get_rank(), *([done] if done else []))


@FUNCTIONS.register_module()
def seed_worker(worker_id: int) -> None:
    """Seed a data-loading worker from torch's own base seed, which is drawn anew every epoch.

    mmengine's default gives a worker the same seed in each epoch, so that short-lived workers
    repeat their augmentations; ``persistent_workers=True`` hides that, but cannot be resumed
    exactly.

    Args:
        worker_id: index of the worker; torch has already added it to the base seed.
    """
    del worker_id
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
