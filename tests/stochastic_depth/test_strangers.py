"""Blocks and models that are put together otherwise than ours: right, or refused in a sentence."""

import copy
import types

import pytest
import timm
import torch
from timm.layers import DropPath
from timm.models.vision_transformer import Block
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    Side,
    UnknownBlockError,
    apply_stochastic_depth,
    describe,
    other_drop_rate,
    realised_drop_rate,
    register_block,
)
from cosub_mm.stochastic_depth.places import table
from tests.stochastic_depth.proofs import check_subset_is_mask, in_double

DIM = 6
IMAGES = torch.randn(6, 3, 32, 32)


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


def vit():
    options = dict(depth=3, embed_dim=24, num_heads=3, img_size=32, num_classes=5)
    return timm.create_model('vit_tiny_patch16_224', **options)


def tokens(rows):
    return torch.randn(rows, 5, DIM).double()


class Residual(nn.Sequential):
    """Calls all its modules in turn, and so what is put into it."""

    def forward(self, x):
        return x + super().forward(x)


@pytest.mark.parametrize('implementation', ['mask', 'subset'])
def test_a_sequential_block_is_dropped_once(implementation):
    model = nn.Sequential(*[Residual(nn.LayerNorm(DIM), nn.Linear(DIM, DIM)) for _ in range(2)])
    options = dict(find='all', example_input=tokens(3))
    report = check_subset_is_mask(in_double(model), tokens(7), **options)
    assert {b.start for b in report.blocks} == {'0'}
    apply_stochastic_depth(model, 0.5, implementation=implementation, **options)
    block, x = model.train()[0], tokens(8)
    assert all(int((block(x) == x).flatten(1).all(1).sum()) == 4 for _ in range(10))


class SequenceFirst(nn.Module):
    """As in openai/CLIP: tokens, samples, channels."""

    def __init__(self):
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(DIM), nn.MultiheadAttention(DIM, 2)
        self.ln_2, self.mlp = nn.LayerNorm(DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class Permuted(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(SequenceFirst(), SequenceFirst())

    def forward(self, x):
        return self.blocks(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize('length', [5, 6])  # twice as many tokens as samples might be windows
@pytest.mark.parametrize('find', ['drop_path', 'all'])
def test_tokens_are_not_dropped_for_samples(find, length):
    example = torch.randn(3, length, DIM)
    with pytest.raises(ValueError, match='the 3 samples of the example are not in the first dim'):
        apply_stochastic_depth(Permuted(), 0.4, find=find, example_input=example)


class Nested(nn.Module):
    """The first of two residuals is added within a part of the block, as in BERT."""

    def __init__(self):
        super().__init__()
        self.attention = Residual(nn.LayerNorm(DIM), nn.Linear(DIM, DIM))
        self.norm, self.mlp = nn.LayerNorm(DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        x = self.attention(x)
        return x + self.mlp(self.norm(x))


def test_what_the_search_for_additions_leaves_is_named():
    model = nn.Sequential(Nested(), Nested())
    report = apply_stochastic_depth(model, 0.4, find='all', example_input=tokens(3).float())
    assert [(b.block, b.start) for b in report.blocks] == [('0', 'norm'), ('1', 'norm')]
    assert '0.attention.1' in report.skipped and '1.attention.1' in report.skipped
    assert 'not dropped: 0.attention.1 (what it ends is added' in str(report)


@pytest.mark.parametrize('implementation', ['mask', 'subset'])
@pytest.mark.parametrize('norm_first', [False, True])
def test_one_sample_without_a_dimension_of_samples(norm_first, implementation):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False).train()
    apply_stochastic_depth(model, 0.4, implementation=implementation)
    with pytest.raises(RuntimeError, match=r'layers.0 .*one sample.*\(9, 8\).*x\[None\]'):
        model(torch.randn(9, 8))
    model(torch.randn(1, 9, 8)), model.eval()(torch.randn(9, 8))


class AdaptiveNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Linear(4, DIM)

    def forward(self, x, c):
        return x + self.shift(c).unsqueeze(1)


@pytest.mark.parametrize('by_name', [False, True])
def test_the_first_module_is_given_more_by_sample(by_name):
    class Given(nn.Module):
        """Its first module takes the condition, too."""

        def __init__(self):
            super().__init__()
            self.norm, self.mlp, self.drop_path = AdaptiveNorm(), nn.Linear(DIM, DIM), nn.Identity()

        def forward(self, x, c):
            y = self.norm(x, c=c) if by_name else self.norm(x, c)
            return x + self.drop_path(self.mlp(y.tanh()))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = Given()

        def forward(self, x):
            return self.block(x[:, :, :DIM], x[:, 0, DIM:])

    register_block(Given, Branch('norm', 'drop_path', sides=(Side('norm', 'c', 2),)))
    check_subset_is_mask(in_double(Net()), torch.randn(7, 5, DIM + 4))


def mixing(self, x):
    y = self.norm1(x)
    x = x + self.drop_path1(self.attn(y - y.mean(0, keepdim=True)))
    return x + self.drop_path2(self.mlp(self.norm2(x)))


def scaled(self, x):
    x = x + self.drop_path1(self.attn(self.norm1(x)))
    return x + 2 * self.drop_path2(self.mlp(self.norm2(x)))


def on_the_block(model, forward, monkeypatch):
    for block in model.blocks:
        block.forward = types.MethodType(forward, block)


def on_the_class(model, forward, monkeypatch):
    monkeypatch.setattr(Block, 'forward', forward)


@pytest.mark.parametrize('put', [on_the_block, on_the_class])
def test_a_forward_that_somebody_has_replaced_is_proven(put, monkeypatch):
    model = vit().train()
    put(model, mixing, monkeypatch)
    apply_stochastic_depth(model, 0.5, implementation='subset')
    with pytest.raises(UnknownBlockError, match='blocks.0.*rows of the branch mix'):
        model(IMAGES)
    put(model, scaled, monkeypatch)
    check_subset_is_mask(in_double(model), IMAGES)


def test_an_empty_batch():
    model = vit().train()
    for implementation in ('mask', 'subset'):
        apply_stochastic_depth(model, 0.5, implementation=implementation)
        model(IMAGES[:0]).sum().backward()


class Halves(nn.Module):
    """The second half of a pass drops more."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList((Block(12, 3), Block(12, 3)))

    def forward(self, x):
        x = self.blocks[0](x)
        with other_drop_rate(self, 0.5):
            return self.blocks[1](x)


def test_a_rate_that_changes_within_a_pass():
    model = Halves().train()
    apply_stochastic_depth(model, 0.25, implementation='subset')
    for _ in range(4):
        model(torch.randn(4, 5, 12))
    assert realised_drop_rate(model) == (0.25 + 0.5) / 2


@pytest.mark.parametrize('place', ['blocks.1.norm1', 'blocks.0.norm2', 'norm'])
def test_a_first_module_that_stands_elsewhere_too(place):
    model = vit()
    parent, _, name = place.rpartition('.')
    setattr(model.get_submodule(parent), name, model.blocks[0].norm1)
    with pytest.raises(ValueError, match=f"'blocks.0.norm1'.*and '{place}' are the same module"):
        apply_stochastic_depth(model, 0.4)
    assert describe(model) is None
    apply_stochastic_depth(model, 0.4, implementation='mask')
    model.train()(IMAGES)


def test_a_copy_of_a_block_takes_no_model_along():
    model = vit().train()
    apply_stochastic_depth(model, 0.5, implementation='subset')
    kept_out = AssertionError('the head is copied')

    def refuse(memo):
        raise kept_out

    model.head.__deepcopy__ = refuse
    twin = copy.deepcopy(model.blocks[0])
    model.blocks.append(twin)
    for mode in (False, True):
        model.train(mode)(IMAGES)
    assert realised_drop_rate(model) == 0.5 and len(describe(model).blocks) == 8
    with pytest.raises(AssertionError, match='the head is copied'):
        copy.deepcopy(model)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.mlp1 = nn.LayerNorm(DIM), nn.Linear(DIM, DIM)
        self.norm2, self.mlp2 = nn.LayerNorm(DIM), nn.Linear(DIM, DIM)

    def forward(self, x):
        x = x + self.mlp1(self.norm1(x))
        return x + self.mlp2(self.norm2(x))


def test_a_registration_in_between_is_not_passed_over():
    first, second = (Branch(f'norm{i}', f'mlp{i}', after=True) for i in (1, 2))
    register_block(Two, first)
    model = nn.Sequential(Two())
    assert len(apply_stochastic_depth(model, 0.5).blocks) == 1
    register_block(Two, first, second)
    assert len(apply_stochastic_depth(model, 0.5).blocks) == 2


class Found(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mlp, self.drop_path = nn.LayerNorm(DIM), nn.Linear(DIM, DIM), DropPath(0.1)

    def forward(self, x):
        return x + self.drop_path(self.mlp(self.norm(x)))


def test_a_block_that_was_found_and_exchanged_is_found_again():
    model = nn.Sequential(Found(), Found())
    options = dict(drop_rate=0.5, example_input=tokens(3).float())
    apply_stochastic_depth(model, **options)
    ends = [block.drop_path for block in model]
    apply_stochastic_depth(model, **options)
    assert [block.drop_path for block in model] == ends
    model[1] = Found()
    assert [b.rate for b in apply_stochastic_depth(model, **options).blocks] == [0.5, 0.5]
