"""Shared set-up of the tests: one thread a worker, fixed seeds, no default scope left behind."""

import os

os.environ.setdefault('OMP_NUM_THREADS', '1')

import random
import subprocess
import threading

import numpy as np
import pytest
import torch
from hypothesis import settings
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from cosub_mm.processes import end_with_make, end_with_parent

torch.set_num_threads(1)

# The same examples in each run and on each machine, and nothing kept of them.
settings.register_profile('same', derandomize=True, database=None, deadline=None, max_examples=40)
settings.load_profile('same')


end_with_make()


class _Popen(subprocess.Popen):
    """What a test starts ends with it, also when the process of the tests is killed."""

    def __init__(self, *args, **kwargs) -> None:
        if threading.current_thread() is threading.main_thread():  # a thread may end earlier
            kwargs.setdefault('preexec_fn', end_with_parent)
        super().__init__(*args, **kwargs)


subprocess.Popen = _Popen


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
    kinds = [Visualizer]
    for kind in kinds:  # the next run would write its numbers into the folder of the last
        kind._instance_dict.clear()
        kinds += kind.__subclasses__()
