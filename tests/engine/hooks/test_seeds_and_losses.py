"""Seeds of an iteration-based loop."""

from types import SimpleNamespace

import torch
from mmengine.runner import IterBasedTrainLoop

from cosub_mm.engine.hooks import EpochSeedHook


def test_a_loop_of_iterations_goes_on_with_other_numbers():
    """It counts no epochs: resumed at iteration 600 it must not draw those of the start again."""
    runner = SimpleNamespace(seed=0, epoch=0, message_hub=SimpleNamespace(runtime_info={}))
    runner.train_loop, drawn = object.__new__(IterBasedTrainLoop), []
    for runner.iter in (0, 600, 600):
        EpochSeedHook().before_train_epoch(runner)
        drawn.append(torch.rand(()).item())
    assert drawn[0] != drawn[1] == drawn[2]
