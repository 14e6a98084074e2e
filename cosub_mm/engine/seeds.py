"""Random numbers as a function of the place in a training, so that nothing of them is saved.

What is drawn for a step depends on the run's seed, the step and the process only, not on what was
drawn before it: a resumed run draws what the undisturbed one did, wherever it goes on.
"""

import random

import numpy as np
import torch
from mmengine.device import get_device

__all__ = ['EPOCH', 'LOADING', 'STEP', 'seed_all']

# What the numbers are for; first in the entropy, so that no two streams are equal.
LOADING, STEP, EPOCH = range(3)


def seed_all(*entropy: int) -> None:
    """Seed Python, numpy and torch (every device in use) of this process; about 0.1 ms.

    Args:
        *entropy: numbers from 0 on. Streams of two tuples of one length are independent.
    """
    state = np.random.SeedSequence(entropy).generate_state(4)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))
    number = int(state[2]) << 32 | int(state[3])
    if get_device() not in ('cpu', 'cuda'):
        torch.manual_seed(number)
        return
    # torch.manual_seed writes down the call's stack for devices that are not in use, for 1 ms.
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
