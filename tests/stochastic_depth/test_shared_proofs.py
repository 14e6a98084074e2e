"""One proof serves blocks that are equal, and none that differ in anything their forward reads."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    UnknownBlockError,
    apply_stochastic_depth,
    register_block,
)
from cosub_mm.stochastic_depth.places import table
from tests.stochastic_depth.test_find import DropPath

MIXES = 'rows of the branch mix with other rows'


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


class Block(nn.Module):
    """Mixes the samples as much as its attribute ``mix`` says."""

    forwards = 0

    def __init__(self, mix, rate=0.1):
        super().__init__()
        self.norm, self.mlp, self.drop_path = nn.LayerNorm(6), nn.Linear(6, 6), DropPath(rate)
        if isinstance(mix, torch.Tensor):
            self.register_buffer('mix', mix)
        else:
            self.mix = mix

    def amount(self):
        mix = self.mix
        if isinstance(mix, list):
            return sum(map(sum, mix))
        if isinstance(mix, set):
            return max(mix)
        if isinstance(mix, dict):
            return mix['by']['rows']
        return mix() if callable(mix) else getattr(mix, 'rows', mix)

    def forward(self, x, more=0.0):
        type(self).forwards += 1
        y = self.mlp(self.norm(x))
        return x + self.drop_path(y + (self.amount() + more) * y.mean(0, keepdim=True))


class Net(nn.Module):
    def __init__(self, blocks, more):
        super().__init__()
        self.blocks, self.more = nn.ModuleList(blocks), more

    def forward(self, x):
        for block, more in zip(self.blocks, self.more):
            x = block(x, more)
        return x


def refused(blocks, way, more=(0.0, 0.0)):
    net, x = Net(blocks, more).train(), torch.randn(3, 6)
    if way != 'searched':
        register_block(Block, Branch('norm', 'drop_path'))
    with pytest.raises(UnknownBlockError, match=rf'blocks.1.*\n?.*{MIXES}'):
        apply_stochastic_depth(
            net, 0.4, implementation='subset', example_input=None if way == 'input' else x
        )
        net(x)


@pytest.mark.parametrize('way', ['searched', 'example', 'input'])
@pytest.mark.parametrize(
    'mixes',
    [
        (0.0, 0.5),
        ([[0]], [[1]]),
        ({0}, {1}),
        ({'by': {'rows': 0}}, {'by': {'rows': 1}}),
        (lambda: 0, lambda: 1),
        (SimpleNamespace(rows=0), SimpleNamespace(rows=1)),
        (torch.zeros(1), torch.ones(1)),
    ],
    ids=['float', 'list', 'set', 'dict', 'function', 'object', 'buffer'],
)
def test_a_block_that_differs_has_a_proof_of_its_own(mixes, way):
    refused(map(Block, mixes), way)


@pytest.mark.parametrize('way', ['searched', 'example', 'input'])
def test_a_block_that_is_called_otherwise_has_a_proof_of_its_own(way):
    refused([Block(0.0), Block(0.0)], way, more=(0.0, 0.5))


def forwards_to_prove(depth, way):
    mix, options, x = SimpleNamespace(rows=0.0), {'by': [0.5]}, torch.randn(3, 6)
    net = Net((Block(mix, 0.01 * (i + 1)) for i in range(depth)), [0.0] * depth).train()
    for block in net.blocks:
        block.options, block.scale = {**options}, 0.25
    Block.forwards = 0
    apply_stochastic_depth(net, schedule='linear', example_input=None if way == 'input' else x)
    if way == 'input':
        net(x)
    return Block.forwards


@pytest.mark.parametrize('way', ['searched', 'example', 'input'])
def test_equal_blocks_share_one_proof(way):
    """More of them add the calls in which the model runs the example, and no trial."""
    if way != 'searched':
        register_block(Block, Branch('norm', 'drop_path'))
    assert forwards_to_prove(6, way) - forwards_to_prove(2, way) == 4
