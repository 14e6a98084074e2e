"""The optimizer of ZeRO-1 with a single process, where it must be the one inside."""

import copy

import pytest
import torch
from mmengine.registry import OPTIMIZERS, DefaultScope
from torch import distributed as dist
from torch import nn

from cosub_mm.engine.parallel import CosubZeRO
from cosub_mm.engine.parallel.zero import with_zero

LAMB = dict(type='mmpretrain.Lamb', lr=0.1, weight_decay=0.1, max_grad_norm=0.05)


@pytest.fixture(scope='module', autouse=True)
def group():
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()


def trained(optimizer: torch.optim.Optimizer, net: nn.Module, steps: int = 3) -> dict:
    for number in range(steps):
        net(torch.arange(6, dtype=torch.float64).view(2, 3) + number).exp().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: value.clone() for name, value in net.state_dict().items()}


@pytest.mark.parametrize(
    'inside',
    [LAMB, dict(LAMB, type='CosubLamb'), dict(type='AdamW', lr=0.1), dict(type='SGD', lr=0.1)],
)
def test_steps_and_states_are_those_of_the_one_inside(inside):
    with DefaultScope.overwrite_default_scope('mmengine'):
        nets = model(), model()
        alone = OPTIMIZERS.build(dict(inside, params=nets[0].parameters()))
        zero = OPTIMIZERS.build(dict(with_zero(inside, 2), params=nets[1].parameters()))
    assert isinstance(zero, CosubZeRO)
    torch.testing.assert_close(trained(zero, nets[1]), trained(alone, nets[0]))
    zero.load_state_dict(copy.deepcopy(alone.state_dict()))
    assert zero.state_dict()['param_groups'] == alone.state_dict()['param_groups']
    torch.testing.assert_close(zero.state_dict()['state'], alone.state_dict()['state'])
    torch.testing.assert_close(trained(zero, nets[1]), trained(alone, nets[0]))


def test_the_config_of_mmengine_and_the_key_mean_the_same():
    stock = dict(type='ZeroRedundancyOptimizer', optimizer_type='AdamW', lr=0.1)
    for config in (stock, dict(type='AdamW', lr=0.1)):
        expected = dict(type='mmengine.CosubZeRO', optimizer_type='AdamW', lr=0.1)
        assert with_zero(config, 8) == expected
        assert with_zero(config, 1) == dict(type='AdamW', lr=0.1)


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        (dict(optimizer_type='Lambada'), "'Lambada' is no name of a known optimizer"),
        (dict(optimizer_type='AdamW', max_grad_norm=2.0), 'AdamW has no max_grad_norm'),
    ],
)
def test_what_it_cannot_do_is_said(settings, said):
    with pytest.raises(ValueError, match=said):
        CosubZeRO(model().parameters(), **settings)
