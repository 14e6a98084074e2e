"""Shared set-up of the tests: one thread a worker, fixed seeds, no default scope left behind."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import random

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _isolate():
    """What one test leaves in mmengine changes another: its scope builds, its logger is silent."""
    _forget()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    _forget()


def _forget() -> None:
    DefaultScope._instance_dict.clear()
    MMLogger._instance_dict.clear()
