"""DINOv2's and DINOv3's own blocks; where their packages are installed.

Without them, blocks that are written as theirs are: a rate of their own, dropped in forward.
"""

import pytest
import torch
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    apply_stochastic_depth,
    register_block,
    remove_stochastic_depth,
)
from cosub_mm.stochastic_depth.places import table
from tests.stochastic_depth.models import only_branches_train
from tests.stochastic_depth.proofs import (
    check_only_the_shortcut_is_left,
    check_subset_is_mask,
    in_double,
)


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


class DropsByItself(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.norm, self.mlp, self.scale = nn.LayerNorm(6), nn.Linear(6, 6), nn.Identity()
        self.rate = rate

    def forward(self, x):
        if self.training and self.rate:
            kept = torch.randperm(len(x))[: max(int(len(x) * (1 - self.rate)), 1)]
            residual = self.scale(self.mlp(self.norm(x[kept])))
            return x.index_add(0, kept, residual, alpha=len(x) / len(kept))
        return x + self.scale(self.mlp(self.norm(x)))


def test_dropping_in_forward_is_switched_off_while_ours_is_there():
    register_block(DropsByItself, Branch('norm', 'scale', after=True, own_rate='rate'))
    model = in_double(nn.Sequential(DropsByItself(0.3), DropsByItself(0.1)))
    assert [b.rate for b in apply_stochastic_depth(model).blocks] == [0.3, 0.1]
    report = apply_stochastic_depth(model, 0.4)
    assert 'its own dropping (rate=0.3) is switched off' in report.blocks[0].reason
    assert [block.rate for block in model] == [0, 0]
    assert [b.rate for b in apply_stochastic_depth(model).blocks] == [0.4, 0.4]
    model.train()
    x = torch.randn(5, 6, dtype=torch.float64)
    kept = [int((model[0](x) != x).any(1).sum()) for _ in range(20)]
    assert set(kept) == {3}  # of 5 at .4; twice dropped, they would be fewer
    remove_stochastic_depth(model)
    assert [block.rate for block in model] == [0.3, 0.1]


def v2(block, rate):
    blocks = pytest.importorskip('dinov2.layers.block')
    attention = pytest.importorskip('dinov2.layers.attention').Attention
    cls = getattr(blocks, block)
    return nn.Sequential(
        *(cls(16, 2, 2.0, init_values=1.0, drop_path=rate, attn_class=attention) for _ in range(2))
    )


@pytest.mark.parametrize('rate', [0.0, 0.05, 0.3])
@pytest.mark.parametrize('block', ['Block', 'NestedTensorBlock'])
def test_dinov2(block, rate):
    model, x = in_double(v2(block, rate)), torch.randn(5, 3, 16)
    report = check_subset_is_mask(model, x)
    assert len(report.blocks) == 4
    assert ('sample_drop_ratio' in str(report)) == bool(rate)
    check_only_the_shortcut_is_left(model, x)
    assert model[0].sample_drop_ratio == rate


def test_dinov2_with_a_list_of_crops_is_refused():
    model = v2('NestedTensorBlock', 0.0)
    apply_stochastic_depth(model, 0.5)
    with pytest.raises(RuntimeError, match='list of 2 streams'):
        model.train()([torch.randn(4, 3, 16), torch.randn(4, 2, 16)])


def v3(rate):
    block = pytest.importorskip('dinov3.layers.block').SelfAttentionBlock
    return nn.Sequential(*(block(16, 2, 2.0, init_values=1.0, drop_path=rate) for _ in range(2)))


class Positions(nn.Module):
    """Gives each block positions, shared or one a sample."""

    def __init__(self, blocks, by_sample):
        super().__init__()
        self.blocks, self.by_sample = blocks, by_sample

    def forward(self, x):
        angle = torch.linspace(0, 3, 24, dtype=x.dtype).view(3, 8)
        if self.by_sample:
            angle = angle + torch.arange(len(x), dtype=x.dtype).view(-1, 1, 1, 1)
        for block in self.blocks:
            x = block(x, (angle.sin(), angle.cos()))
        return x


@pytest.mark.parametrize('rate', [0.0, 0.3])
@pytest.mark.parametrize('by_sample', [False, True])
def test_dinov3(rate, by_sample):
    model, x = in_double(Positions(v3(rate), by_sample)), torch.randn(5, 3, 16)
    report = check_subset_is_mask(model, x)
    assert len(report.blocks) == 4
    assert ('sample_drop_ratio' in str(report)) == bool(rate)
    check_only_the_shortcut_is_left(model, x)


def test_dinov3_with_a_list_of_crops_drops_samples_of_each():
    model = in_double(v3(0.0))
    apply_stochastic_depth(model, 1 - 1e-12)
    only_branches_train(model)
    crops = [torch.randn(4, 3, 16).double(), torch.randn(6, 2, 16).double()]
    assert all(map(torch.equal, model(crops), crops))
