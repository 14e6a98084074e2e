"""Blocks that the table does not name: found and proven, or refused."""

import pytest
import timm
import torch
from torch import nn
from torchvision.models import convnext_tiny
from torchvision.models.convnext import CNBlock

from cosub_mm.stochastic_depth import (
    Branch,
    UnknownBlockError,
    apply_stochastic_depth,
    describe,
    register_block,
)
from cosub_mm.stochastic_depth.places.table import BLOCKS, class_name
from tests.stochastic_depth import models


class DropPath(nn.Module):
    """Somebody's own."""

    def __init__(self, drop_prob=0.0):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        return x


class Block(nn.Module):
    """Two branches with one DropPath, the second inside a module of its own."""

    def __init__(self, dim=8):
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mix = nn.Linear(dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))
        self.drop_path = DropPath()
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim), DropPath(0.2))

    def forward(self, x, shift=0.0):
        y = self.drop_path(self.gamma * self.mix(self.norm(x)).relu())
        return torch.add(self.mlp(x), x) + y + shift


class ReadsBatchSize(Block):
    def forward(self, x, shift=0.0):
        rows, tokens, dim = x.shape
        return x + self.drop_path(self.mix(self.norm(x)).reshape(rows, tokens, dim))


class MixesRows(Block):
    def forward(self, x, shift=0.0):
        x = x + self.drop_path(self.mix(self.norm(x)).softmax(0))
        return torch.add(x, self.mlp(x))


class MixesStream(Block):
    def forward(self, x, shift=0.0):
        return x + self.drop_path(self.mix(self.norm(x)) - x)


class NoResidual(Block):
    def forward(self, x, shift=0.0):
        return self.drop_path(self.mix(self.norm(x)))


class ProjectedBehind(Block):
    """As timm's Xception: the shortcut is projected behind the branch, from what both are given."""

    def __init__(self, dim=8):
        super().__init__(dim)
        del self.mlp
        self.branch = nn.Sequential(nn.GELU(), self.mix)
        self.shortcut = nn.Linear(dim, dim)

    def forward(self, x, shift=0.0):
        y, skip = self.branch(x), self.shortcut(x)
        return self.drop_path(y) + skip


class Net(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, shift=1.0)
        return x


EXAMPLE = torch.randn(3, 4, 6)


def test_branches_are_found_and_agree_with_mask():
    model = Net(Block(), Block()).double()
    x = torch.randn(7, 4, 6, dtype=torch.float64)
    example = EXAMPLE.double()
    results = []
    for implementation in ('mask', 'subset'):
        report = apply_stochastic_depth(
            model, 0.4, implementation=implementation, example_input=example
        )
        assert {(b.start, b.end) for b in report.blocks} == {
            ('norm', 'drop_path'),
            ('mlp', 'mlp.2'),
        }
        assert all(b.found for b in report.blocks) and len(report.blocks) == 4
        assert 'found automatically' in str(report)
        model.train()
        results.append(models.forward_backward(model, x))
    for mask, subset in zip(*results, strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-12, atol=1e-12)


def test_a_shortcut_that_is_projected_behind_the_branch_has_all_rows():
    model, x = Net(ProjectedBehind()).double(), torch.randn(7, 4, 6, dtype=torch.float64)
    results = []
    for implementation in ('mask', 'subset'):
        report = apply_stochastic_depth(
            model, 0.4, implementation=implementation, example_input=EXAMPLE.double()
        )
        assert [(b.start, b.end) for b in report.blocks] == [('branch', 'drop_path')]
        results.append(models.forward_backward(model.train(), x))
    for mask, subset in zip(*results, strict=True):
        torch.testing.assert_close(subset, mask, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        (ReadsBatchSize, 'shape'),
        (MixesRows, 'rows of the branch mix with other rows'),
        (MixesStream, 'size of tensor'),
    ],
)
def test_a_block_that_cannot_be_proven_is_refused(kind, reason):
    model = Net(kind())
    with pytest.raises(UnknownBlockError) as error:
        apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    message = str(error.value)
    assert "'blocks.0'" in message and kind.__name__ in message and reason in message
    assert f'register_block(\n        {kind.__name__},' in message
    assert "end='drop_path'" in message and "implementation='mask'" in message
    assert describe(model) is None and isinstance(model.blocks[0].drop_path, DropPath)
    report = apply_stochastic_depth(model, 0.4, implementation='mask', example_input=EXAMPLE)
    assert report.blocks[0].implementation == 'mask' and report.blocks[0].start is None


def test_the_lines_of_the_error_register_the_block():
    register_block(MixesStream, Branch(start=None, end='drop_path'))
    try:
        model = Net(MixesStream()).train()
        model.blocks[0].mlp = nn.Identity()
        report = apply_stochastic_depth(model, 0.5)
        assert report.blocks[0].reason.startswith('cannot run on fewer rows')
        dropped = (model(torch.randn(8, 4, 6)) - model.embed(torch.randn(8, 4, 6))).shape
        assert dropped == (8, 4, 8)
    finally:
        BLOCKS.pop(class_name(MixesStream))


WRONG = 'the branch is not what it is registered as'


def test_a_wrong_registration_fails_loudly():
    register_block(ReadsBatchSize, Branch('norm', 'drop_path'))
    try:
        model = Net(ReadsBatchSize()).train()
        model.blocks[0].mlp = nn.Identity()
        apply_stochastic_depth(model, 0.5, implementation='subset')
        with pytest.raises(UnknownBlockError, match=f'blocks.0.*{WRONG}.*shape'):
            model(torch.randn(4, 4, 6))
    finally:
        BLOCKS.pop(class_name(ReadsBatchSize))


class KeepsBatchSize(Block):
    def forward(self, x, shift=0.0):
        return x + self.drop_path(self.norm(x).reshape(len(x), -1, 4).repeat(1, 1, 2)[:, :4])


def test_a_branch_that_regroups_rows_fails_loudly():
    register_block(KeepsBatchSize, Branch('norm', 'drop_path'))
    try:
        model = Net(KeepsBatchSize()).train()
        model.blocks[0].mlp = nn.Identity()
        apply_stochastic_depth(model, 0.5, implementation='subset')
        with pytest.raises(UnknownBlockError, match=f'blocks.0.*{WRONG}.*shape'):
            model(torch.randn(4, 4, 6))
    finally:
        BLOCKS.pop(class_name(KeepsBatchSize))


class Mlp(nn.Module):
    """As mmcv's FFN: the name of its DropPath does not say what it is."""

    def __init__(self, rate):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.last = DropPath(rate) if rate else nn.Identity()

    def forward(self, x):
        return self.last(self.layer(x))


def test_a_block_of_rate_0_is_found_by_its_like():
    model = Net(Block(), Block(), Block())
    for block, rate in zip(model.blocks, (0, 0.1, 0.2)):
        block.mlp = Mlp(rate)
    report = apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    assert [(b.block, b.end, b.rate) for b in report.blocks] == [
        (f'blocks.{i}', end, 0.4) for i in range(3) for end in ('drop_path', 'mlp.last')
    ]


def test_an_identity_in_a_sequential_is_no_drop_path():
    model = Net(Block(), Block())
    model.blocks[0].mix = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Identity())
    report = apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)  # mlp.2 is a DropPath
    assert {b.end for b in report.blocks} == {'drop_path', 'mlp.2'} and not report.skipped


def test_a_found_block_under_two_names():
    block = Block()
    with pytest.raises(ValueError, match=r"'blocks.0' and 'blocks.1' are the same block"):
        apply_stochastic_depth(Net(block, block), 0.4, example_input=EXAMPLE)


def test_places_without_a_residual_are_named():
    model = Net(Block(), NoResidual())
    report = apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    assert set(report.skipped) == {'blocks.1.drop_path', 'blocks.1.mlp.2'}
    assert 'no residual ends there' in report.skipped['blocks.1.drop_path']
    assert 'never called' in report.skipped['blocks.1.mlp.2']
    assert 'not dropped: blocks.1.drop_path' in str(report)
    with pytest.raises(ValueError, match='No residual branch was found'):
        apply_stochastic_depth(Net(NoResidual()), 0.4, example_input=EXAMPLE)


class NormAfterDropPath(Block):
    def forward(self, x, shift=0.0):
        return x + self.norm(self.mlp(x))


class PreparesInEval(Block):
    """Caches something when it is told to evaluate, as LeViT does."""

    def train(self, mode=True):
        self.cached = None if mode else self.gamma * 2
        return super().train(mode)

    def forward(self, x, shift=0.0):
        gamma = self.gamma * 2 if self.training else self.cached
        return x + self.drop_path(gamma * self.mix(self.norm(x)))


def test_a_branch_may_start_with_the_module_that_ends_it():
    report = apply_stochastic_depth(Net(NormAfterDropPath()), 0.4, example_input=EXAMPLE)
    assert [(b.start, b.end) for b in report.blocks] == [('mlp', 'mlp.2')]


def test_modules_are_told_of_evaluation():
    model = Net(PreparesInEval()).train()
    report = apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    assert [(b.start, b.end) for b in report.blocks] == [('norm', 'drop_path')]
    assert model.blocks[0].training and model.blocks[0].cached is None


def test_an_example_the_model_cannot_take():
    with pytest.raises(UnknownBlockError, match=r'failed on the example.*example_input'):
        apply_stochastic_depth(Net(Block()), 0.4, example_input=torch.randn(3, 4, 5))


def test_a_search_changes_neither_weights_nor_seeds_nor_modes():
    model = Net(Block())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.blocks[0].norm.eval()
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model.training and not model.blocks[0].norm.training
    assert all(p.grad is None for p in model.parameters())


def test_torchvision_blocks_are_found():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), CNBlock(8, 1e-6, 0.1), CNBlock(8, 1e-6, 0.2))
    report = apply_stochastic_depth(model, example_input=torch.randn(3, 3, 8, 8))
    assert [b.rate for b in report.blocks] == [0.1, 0.2]
    assert {b.start for b in report.blocks} == {'block'}
    assert convnext_tiny is not None


@pytest.mark.parametrize(
    ('name', 'skipped'),
    [
        ('beit_base_patch16_224', 0),
        ('efficientnet_lite0', 7),
        ('levit_128s', 0),
        ('mobilevit_xxs', 4),
    ],
)
def test_timm_families_beyond_the_table(name, skipped):
    small = dict(depth=2, embed_dim=24, num_heads=2, img_size=32) if 'beit' in name else {}
    model = timm.create_model(name, drop_path_rate=0.1, **small)
    report = apply_stochastic_depth(model, 0.2)
    assert report.blocks and all(b.rate == 0.2 for b in report.blocks)
    assert len(report.skipped) == skipped
