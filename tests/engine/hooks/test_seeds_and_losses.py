"""Seeds of an iteration-based loop, and losses that are not summed up."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import IterBasedTrainLoop

from cosub_mm.engine.hooks import EpochSeedHook, FiniteLossHook, NonFiniteLossError


def test_a_loop_of_iterations_goes_on_with_other_numbers():
    """It counts no epochs: resumed at iteration 600 it must not draw those of the start again."""
    runner = SimpleNamespace(seed=0, epoch=0, message_hub=SimpleNamespace(runtime_info={}))
    runner.train_loop, drawn = object.__new__(IterBasedTrainLoop), []
    for runner.iter in (0, 600, 600):
        EpochSeedHook().before_train_epoch(runner)
        drawn.append(torch.rand(()).item())
    assert drawn[0] != drawn[1] == drawn[2]


@pytest.mark.parametrize('name', ['loss', 'loss_cosub', 'decode.loss_ce'])
def test_any_loss_that_is_no_number_stops(name):
    outputs = {'loss': torch.tensor(1.0), name: torch.tensor(float('inf'))}
    with pytest.raises(NonFiniteLossError, match=f'iteration 1.*{name}=inf'):
        FiniteLossHook().after_train_iter(SimpleNamespace(iter=0), 0, outputs=outputs)
