"""What is meant for every group of parameters, and for every process, reaches each."""

import random

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch.testing._internal.distributed.fake_pg import FakeStore

from cosub_mm.engine.hooks import EpochSeedHook
from tests.engine.toy import built, config


@pytest.mark.parametrize(('rule', 'factor'), [('linear', 1 / 4), ('sqrt', 1 / 2)])
def test_a_scaled_learning_rate_reaches_every_group(tmp_path, rule, factor):
    wrapper = dict(
        optimizer=dict(type='SGD', lr=1.0),
        paramwise_cfg=dict(custom_keys={'layer': dict(lr_mult=0.5), 'norm': dict(lr_mult=0.25)}),
    )
    runner = built(config(tmp_path, optim_wrapper=wrapper))
    groups = runner.optim_wrapper.param_groups
    before = [group['lr'] for group in groups]
    assert sorted(set(before)) == [0.25, 0.5, 1.0]
    runner.scale_lr(runner.optim_wrapper, dict(enable=True, base_batch_size=8, rule=rule))
    assert [group['lr'] for group in groups] == [factor * lr for lr in before]


def test_processes_draw_other_numbers(tmp_path):
    """In every source of random numbers; the same process draws the same again."""
    runner, drawn = built(config(tmp_path)), []
    for rank in (0, 1, 1):
        dist.init_process_group('fake', rank=rank, world_size=2, store=FakeStore())
        try:
            EpochSeedHook().before_train_epoch(runner)
        finally:
            dist.destroy_process_group()
        drawn.append((random.random(), np.random.rand(), torch.rand(()).item()))
    first, second, again = drawn
    assert second == again
    assert all(a != b for a, b in zip(first, second))
