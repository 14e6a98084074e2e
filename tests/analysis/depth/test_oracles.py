"""The judges of the coverage page find what is half covered, or not gone."""

import pytest
import torch
from torch import nn
from torchvision.models.vision_transformer import EncoderBlock

from cosub_mm.analysis.depth import coverage, oracles
from cosub_mm.analysis.depth.timm_models import Candidate
from cosub_mm.stochastic_depth import Branch, register_block
from cosub_mm.stochastic_depth.places import table


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


class Two(nn.Module):
    """Two residual branches over the channels of an image."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.two = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        x = x + self.norm(self.one(x))
        return x + self.two(x)


def judged(*branches):
    register_block(Two, *branches)
    candidate = Candidate('two', 'Two', lambda side: nn.Sequential(Two(), Two()), (4,))
    return coverage.judge(candidate, with_oracles=True)


def test_a_row_that_is_right():
    verdict = judged(Branch('one', 'norm', after=True), Branch('two', 'two', after=True))
    assert verdict.status == 'handled'
    assert '2 of 2 blocks are the identity; FLOPs of the blocks at .5: 0.50' in verdict.note


def test_a_row_that_is_half_covered():
    with pytest.warns(UserWarning, match='register a Branch'):
        verdict = judged(Branch('one', 'norm', after=True))
    assert verdict.status == 'half covered' and '0.two' in verdict.note


def test_a_branch_that_ends_too_early():
    # Subset and mask agree, and the norm behind still adds its bias.
    verdict = judged(Branch('one', 'one', after=True), Branch('two', 'two', after=True))
    assert verdict.status in ('half covered', 'wrong')


def test_the_shortcut_alone_and_the_flops_of_a_transformer():
    model = nn.Sequential(EncoderBlock(2, 16, 32, 0.0, 0.0)).double()
    x = torch.randn(4, 5, 16, dtype=torch.float64)
    assert oracles.shortcuts_alone(model, x) == oracles.Shortcuts(1, 1, True)
    assert oracles.block_flops_share(model, x) == pytest.approx(0.5)
