"""What a branch is given by sample beside the stream goes with the rows, or is refused by name."""

import pytest
import timm
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from cosub_mm.stochastic_depth import (
    Branch,
    Side,
    apply_stochastic_depth,
    describe,
    register_block,
)
from cosub_mm.stochastic_depth.places import table
from tests.stochastic_depth import models
from tests.stochastic_depth.oldest import OLD_TIMM


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


class DiTBlock(nn.Module):
    """Shift, scale and gate of each sample, from its condition."""

    def __init__(self, gate_inside=False):
        super().__init__()
        self.norm = nn.LayerNorm(6, elementwise_affine=False)
        self.mlp = nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6))
        self.to_gates, self.drop_path = nn.Linear(4, 18), nn.Identity()
        self.gate_inside = gate_inside

    def forward(self, x, c):
        shift, scale, gate = self.to_gates(c).unsqueeze(1).chunk(3, dim=-1)
        branch = self.mlp(self.norm(x) * (1 + scale) + shift)
        if self.gate_inside:
            return x + self.drop_path(gate * branch)
        return x + gate * self.drop_path(branch)


class Projects(nn.Module):
    """The branch hands the condition to a module of its own."""

    def __init__(self):
        super().__init__()
        self.norm, self.mlp, self.project = nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(4, 6)
        self.drop_path = nn.Identity()

    def forward(self, x, c):
        y = self.norm(x)
        return x + self.drop_path((self.mlp(y) + self.project(c).unsqueeze(1)).tanh())


class Conditioned(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, inputs):
        x, c = inputs
        for block in self.blocks:
            x = block(x, c)
        return x


def inputs(rows):
    return torch.randn(rows, 5, 6).double(), torch.randn(rows, 4).double()


def compare(model, given, **kwargs):
    """Subset and mask give the same outputs and gradients."""
    results = []
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.4, implementation=implementation, **kwargs)
        models.only_branches_train(model)
        model.zero_grad()
        torch.manual_seed(3)
        out = model(given)
        out.square().sum().backward()
        results.append([out, *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    for mask, subset in zip(*results, strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-9, atol=1e-12)
    assert {b.implementation for b in describe(model).blocks} == {'subset'}


def naflex(rows):
    """Patches of pictures of several sizes."""
    coord = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(4), indexing='ij'), -1)
    valid = torch.arange(16)[None] < torch.arange(16 - rows, 16)[:, None] + 1
    return dict(
        patches=torch.randn(rows, 16, 16 * 16 * 3).double(),
        patch_coord=coord.view(1, 16, 2).repeat(rows, 1, 1),
        patch_valid=valid,
    )


# timm 1.0.22 takes device for dtype in its mixed rotary embedding.
@pytest.mark.parametrize('rope', ['', 'axial', *(() if OLD_TIMM else ('mixed',))])
@pytest.mark.parametrize('example', ['own', 'image'])
def test_naflex_vit_trains_on_its_own_input(rope, example):
    model = timm.create_model(
        'naflexvit_base_patch16_gap',
        depth=2,
        embed_dim=24,
        num_heads=2,
        num_classes=3,
        rope_type=rope,
    ).double()
    example = naflex(3) if example == 'own' else torch.randn(3, 3, 64, 64).double()
    compare(model, naflex(7), example_input=example if rope else None)


@pytest.mark.parametrize('block', [Projects, DiTBlock])
def test_a_found_block_hands_on_what_it_is_given_by_sample(block):
    model = Conditioned(block(), block()).double()
    compare(model, inputs(7), example_input=(inputs(3),))


class PreNorm(nn.Module):
    """As a ViT's; each branch may be checkpointed on its own."""

    def __init__(self, checkpointed):
        super().__init__()
        self.norm1, self.attn, self.drop_path1 = nn.LayerNorm(6), nn.Linear(6, 6), nn.Identity()
        self.norm2, self.mlp, self.drop_path2 = nn.LayerNorm(6), nn.Linear(6, 6), nn.Identity()
        self.checkpointed = checkpointed

    def call(self, function, x):
        return checkpoint(function, x, use_reentrant=False) if self.checkpointed else function(x)

    def forward(self, x, c):
        x = x + self.drop_path1(self.call(lambda y: self.attn(self.norm1(y)), x))
        return x + self.call(lambda y: self.drop_path2(self.mlp(self.norm2(y))), x)


class ReadsItsInputAgain(PreNorm):
    """The second branch is handed what the block was given, beside the stream."""

    def forward(self, x, c):
        y = x + self.drop_path1(self.attn(self.norm1(x)))
        return y + self.drop_path2(self.mlp((self.norm2(y) + self.project(x)).tanh()))

    def __init__(self):
        super().__init__(False)
        self.project = nn.Linear(6, 6)


class OneDropPath(Projects):
    """The second of two branches that share a DropPath is handed the condition."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)

    def forward(self, x, c):
        return super().forward(x + self.drop_path(self.first(x)), c)


@pytest.mark.parametrize('block', [ReadsItsInputAgain, OneDropPath])
def test_what_the_second_branch_is_given(block):
    compare(Conditioned(block(), block()).double(), inputs(7), example_input=(inputs(3),))


@pytest.mark.parametrize('checkpointed', [False, True])
def test_a_plain_block_has_no_sides(checkpointed):
    """The input of the block is no side of the second branch: its first one takes it, before."""
    net = Conditioned(PreNorm(checkpointed)).double().train()
    apply_stochastic_depth(net, 0.35, implementation='subset', example_input=(inputs(2),))
    hooks = {name: len(m._forward_pre_hooks) for name, m in net.blocks[0].named_children()}
    assert not any(hooks.values())
    for seed in range(8):
        torch.manual_seed(seed)
        net(inputs(2)).square().sum().backward()


def test_a_registered_block_hands_on_what_it_is_told():
    model = Conditioned(Projects()).double()
    register_block(Projects, Branch('norm', 'drop_path', sides=(Side('project', 'input', 2),)))
    compare(model, inputs(7))


def test_a_gate_within_the_branch_is_refused():
    model = Conditioned(DiTBlock(gate_inside=True)).double()
    with pytest.raises(ValueError, match='blocks.0.*no start .* could be proven'):
        apply_stochastic_depth(model, 0.4, example_input=(inputs(3),))


def test_what_is_not_handed_on_is_refused_at_the_first_input():
    model = Conditioned(Projects()).double().train()
    register_block(Projects, Branch('norm', 'drop_path'))
    apply_stochastic_depth(model, 0.05, implementation='subset')
    with pytest.raises(ValueError, match='blocks.0.*not what it is registered as.*size of tensor'):
        model(inputs(8))


@pytest.mark.parametrize('rate', [0.05, 0.4])
def test_a_mask_of_each_sample_is_right_or_named(rate):
    """At a rate of .05 the 8 rows are mostly all kept: never in another order."""
    model = timm.create_model('vit_tiny_patch16_224', depth=1, embed_dim=24, img_size=32).train()
    x, mask, said = torch.randn(8, 3, 32, 32), torch.rand(8, 1, 5, 5) < 0.6, 0
    mask[..., 0] = True
    for seed in range(8):
        results = []
        for implementation in ('mask', 'subset'):
            apply_stochastic_depth(model, rate, implementation=implementation)
            torch.manual_seed(seed)
            try:
                results.append(model(x, attn_mask=mask))
            except RuntimeError as error:
                said += 1
                assert 'blocks.0' in str(error) and "'attn_mask'" in str(error)
                assert "implementation='mask'" in str(error)
        if len(results) == 2:
            torch.testing.assert_close(results[1], results[0])
    assert said == 8 or (rate == 0.05 and 0 < said < 8)


def test_a_side_that_is_not_there():
    register_block(Projects, Branch('norm', 'drop_path', sides=(Side('project', 'c', 2),)))
    with pytest.raises(ValueError, match="'project'.*no argument 'c'"):
        apply_stochastic_depth(Conditioned(Projects()), 0.4)
