"""Shared set-up of the tests: one thread a worker, fixed seeds, no default scope left behind."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import random

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _isolate():
    """A scope that one test sets changes what another one's configs build."""
    DefaultScope._instance_dict.clear()
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    DefaultScope._instance_dict.clear()
