"""Blocks without a DropPath: found by what they add to their stream, or named with lines."""

import re
import textwrap

import pytest
import torch
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    UnknownBlockError,
    apply_stochastic_depth,
    realised_drop_rate,
    register_block,
)
from cosub_mm.stochastic_depth.places import table
from tests.stochastic_depth.proofs import (
    check_only_the_shortcut_is_left,
    check_subset_is_mask,
    in_double,
)

DIM, TOKENS = 6, 4
EXAMPLE = torch.randn(3, TOKENS, DIM, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _own_table(monkeypatch):
    monkeypatch.setattr(table, 'BLOCKS', dict(table.BLOCKS))


class Plain(nn.Module):
    """Two branches; the first is scaled behind its last module, the second begins side by side."""

    def __init__(self):
        super().__init__()
        self.norm, self.attn = nn.LayerNorm(DIM), nn.MultiheadAttention(DIM, 2, batch_first=True)
        self.gamma = nn.Parameter(torch.ones(DIM))
        self.left, self.right = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM)
        self.out = nn.Linear(DIM, DIM)

    def forward(self, x):
        y = self.norm(x)
        x = x + self.gamma * self.attn(y, y, y, need_weights=False)[0]
        return self.out(self.left(x) * self.right(x).tanh()) + x


class Functional(nn.Module):
    """Drops by itself, in training only."""

    def __init__(self, rate=0.2):
        super().__init__()
        self.norm, self.mlp, self.rate = nn.LayerNorm(DIM), nn.Linear(DIM, DIM), rate

    def forward(self, x):
        y = self.mlp(self.norm(x))
        if self.training and self.rate > 0:
            kept = torch.rand(len(x), *[1] * (x.ndim - 1)) >= self.rate
            y = y * kept / (1 - self.rate)
        return x + y


class Secret(Functional):
    def forward(self, x):
        y = self.mlp(self.norm(x))
        return x + (y * (torch.rand(len(x), 1, 1) > 0.3) if self.training else y)


class Projected(nn.Module):
    def __init__(self, dim, out, kind='added'):
        super().__init__()
        self.conv, self.norm = nn.Linear(dim, out), nn.LayerNorm(out)
        self.down = nn.Linear(dim, out) if dim != out else None
        self.adds = kind == 'added'

    def forward(self, x):
        y = self.norm(self.conv(x))
        if not self.adds:
            return y
        return (y + (x if self.down is None else self.down(x))).relu()


def stack(*blocks):
    return in_double(nn.Sequential(nn.ReLU(), *blocks))


def test_both_branches_are_found_proven_and_dropped():
    model = stack(Plain(), Plain())
    options = dict(find='all', example_input=EXAMPLE)
    report = check_subset_is_mask(model, torch.randn(5, TOKENS, DIM), **options)
    # Two modules begin the second branch, so that it is masked.
    assert [(b.start, b.end) for b in report.blocks] == [('norm', 'attn'), (None, 'out')] * 2
    assert all(b.found for b in report.blocks) and not report.skipped
    check_only_the_shortcut_is_left(model, EXAMPLE, **options)


def test_without_being_asked_they_are_proposed_with_lines_that_work():
    model = stack(Plain(), Plain())
    with pytest.raises(ValueError, match=r"test_additions.Plain \(2 times\).*find='all'") as error:
        apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    lines = textwrap.dedent(re.search(r'(?ms)^ {4}from .*\)$', str(error.value)).group())
    assert "Branch('norm', 'attn', after=True)" in lines
    exec(lines, {})
    report = check_subset_is_mask(model, torch.randn(5, TOKENS, DIM), example_input=EXAMPLE)
    assert len(report.blocks) == 4 and not any(b.found for b in report.blocks)


def test_a_functional_drop_path_is_found_by_what_it_does_and_switched_off():
    model = stack(Functional(), Functional(0.0))
    with pytest.raises(ValueError, match=r"Branch\('norm', 'mlp', after=True, own_rate='rate'\)"):
        apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    report = apply_stochastic_depth(model, example_input=EXAMPLE, find='all')
    assert [b.rate for b in report.blocks] == [0.2, 0]
    apply_stochastic_depth(model, 0.5, example_input=EXAMPLE, find='all')
    model.train()
    x = torch.randn(4, TOKENS, DIM, dtype=torch.float64)
    assert all(int((model[1](x) == x).flatten(1).all(1).sum()) == 2 for _ in range(20))
    assert realised_drop_rate(model) == 0.5


def test_a_drop_path_that_nothing_rules_is_said():
    with pytest.raises(ValueError, match='Secret: it drops samples by itself in forward'):
        apply_stochastic_depth(stack(Secret(), Secret()), 0.4, example_input=EXAMPLE)


def test_a_projected_shortcut_follows_the_others_of_its_class():
    model = stack(Projected(DIM, DIM), Projected(DIM, 8), Projected(8, 8))
    options = dict(find='all', example_input=EXAMPLE)
    report = check_subset_is_mask(model, torch.randn(5, TOKENS, DIM), **options)
    assert [(b.start, b.end) for b in report.blocks] == [('conv', 'norm')] * 3
    check_only_the_shortcut_is_left(model, EXAMPLE, ('down',), identities=2, **options)


def test_blocks_that_add_to_nothing_are_left_alone_and_told_apart_in_the_lines():
    model = stack(Projected(DIM, DIM), Projected(DIM, DIM, 'none'), Projected(DIM, DIM))
    with pytest.raises(ValueError, match=r"Branch\('conv', 'norm', after=True, shortcut='adds'\)"):
        apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    report = apply_stochastic_depth(model, 0.4, example_input=EXAMPLE, find='all')
    assert [b.block for b in report.blocks] == ['1', '3']
    assert 'nothing is added to its stream' in report.skipped['2']


def test_a_registration_that_drops_what_is_added_to_nothing_is_refused():
    register_block(Projected, Branch('conv', 'norm', after=True))
    model = stack(Projected(DIM, DIM), Projected(DIM, DIM, 'none'))
    with pytest.raises(UnknownBlockError, match=r'2 .*nothing of the stream is left.*shortcut'):
        apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)


def test_a_registration_that_leaves_the_own_dropping_on_is_refused():
    register_block(Functional, Branch('norm', 'mlp', after=True))
    with pytest.raises(UnknownBlockError, match=r"by itself, too.*add own_rate='rate'"):
        apply_stochastic_depth(stack(Functional()), 0.4, example_input=EXAMPLE)


class DropPath(nn.Module):
    def __init__(self, drop_prob=0.0):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        return x


class Half(nn.Module):
    """Has a DropPath behind one of its two branches, as Swin of Hugging Face has."""

    def __init__(self):
        super().__init__()
        self.norm, self.mix, self.drop_path = nn.LayerNorm(DIM), nn.Linear(DIM, DIM), DropPath(0.1)
        self.norm2, self.mlp, self.out = nn.LayerNorm(DIM), nn.Linear(DIM, DIM), nn.Dropout(0.0)

    def forward(self, x):
        y = self.mix(self.norm(x))
        x = x + self.drop_path(y + y.tanh())  # within the branch, which is no second one
        return x + self.out(self.mlp(self.norm2(x)))


def test_the_report_names_what_no_branch_covers():
    report = apply_stochastic_depth(stack(Half(), Half()), 0.4, example_input=EXAMPLE)
    assert set(report.skipped) == {'1.out', '2.out'}
    assert 'not dropped: 1.out (what it ends is added to the stream of Half' in str(report)


def test_a_registration_that_covers_half_is_warned_of():
    register_block(Half, Branch('norm', 'drop_path'))
    with pytest.warns(UserWarning, match=r'out: what it ends is added.*Half.*register a Branch'):
        apply_stochastic_depth(stack(Half()), 0.4, example_input=EXAMPLE)
    register_block(Half, Branch('norm', 'drop_path'), Branch('norm2', 'out', after=True))
    report = check_subset_is_mask(stack(Half()), EXAMPLE, example_input=EXAMPLE)
    assert len(report.blocks) == 2 and not report.skipped


class Windows(nn.Module):
    """Cuts its stream into windows before any module sees it."""

    def __init__(self):
        super().__init__()
        self.attn, self.norm, self.drop_path = nn.Linear(DIM, DIM), nn.LayerNorm(DIM), DropPath(0.1)

    def forward(self, x):
        rows = len(x)
        windows = self.attn(x.view(-1, 2, DIM))
        return x + self.drop_path(self.norm(windows.view(rows, TOKENS, DIM)))


class Embedded(nn.Module):
    """Its first module hands on the tensor that it was given, which is the stream of the block."""

    def __init__(self):
        super().__init__()
        self.dropout, self.blocks = nn.Dropout(0.1), nn.Sequential(Windows(), Windows())

    def forward(self, x):
        return self.blocks(self.dropout(x * 2))


def test_a_model_is_not_taken_for_its_first_block():
    model = in_double(Embedded())
    report = check_subset_is_mask(model, torch.randn(5, TOKENS, DIM), example_input=EXAMPLE)
    spots = [(b.block, b.start) for b in report.blocks]
    assert spots == [('blocks.0', 'norm'), ('blocks.1', 'norm')]


class Branchy(nn.Module):
    """A stage that skips two blocks, a block with a small convolution of its own, and a head."""

    def __init__(self):
        super().__init__()
        self.stage = nn.Sequential(Functional(0.0), Functional(0.0))
        self.head = Projected(DIM, DIM)

    def forward(self, x):
        return self.head(x + self.stage(x))


def test_a_skip_over_blocks_and_what_stands_once_are_no_blocks():
    model = in_double(Branchy())
    report = apply_stochastic_depth(model, 0.4, example_input=EXAMPLE, find='all')
    assert [b.block for b in report.blocks] == ['stage.0', 'stage.1']


def test_a_second_call_searches_further_and_a_third_changes_nothing():
    model = stack(Half(), Half(), Functional(), Functional())
    options = dict(drop_rate=0.4, example_input=EXAMPLE)
    assert len(apply_stochastic_depth(model, **options).blocks) == 2
    first = apply_stochastic_depth(model, find='all', **options)
    assert len(first.blocks) == 4
    assert apply_stochastic_depth(model, **options).blocks == first.blocks


def test_finding_changes_neither_weights_nor_modes_nor_the_numbers_to_come():
    model = stack(Plain(), Functional()).train()
    model[1].eval()
    modes = [m.training for m in model.modules()]
    weights = [p.clone() for p in model.parameters()]
    hooks = [(*m._forward_hooks, *m._forward_pre_hooks) for m in model.modules()]
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="find='all'"):
        apply_stochastic_depth(model, 0.4, example_input=EXAMPLE)
    assert [m.training for m in model.modules()] == modes
    assert all(map(torch.equal, model.parameters(), weights))
    assert torch.equal(torch.get_rng_state(), state)
    assert [(*m._forward_hooks, *m._forward_pre_hooks) for m in model.modules()] == hooks
