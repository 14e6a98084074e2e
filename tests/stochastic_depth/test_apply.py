"""One call: its report, its schedule, its seeds, and every bad input."""

from functools import partial

import pytest
import timm
import torch
from torch import nn

from cosub_mm.stochastic_depth import (
    Branch,
    StochasticDepth,
    apply_stochastic_depth,
    block_rates,
    describe,
    max_drop_rate,
    realised_drop_rate,
    register_block,
    remove_stochastic_depth,
    scale_drop_rates,
)
from cosub_mm.stochastic_depth.places.table import BLOCKS


def vit(**kwargs):
    return timm.create_model(
        'vit_tiny_patch16_224', depth=3, embed_dim=24, img_size=32, num_classes=5, **kwargs
    )


def test_report_has_numbers_and_prints_a_table():
    report = apply_stochastic_depth(vit(), 0.45, implementation='subset')
    assert [b.rate for b in report.blocks] == [0.45] * 6
    first = report.blocks[0]
    assert (first.block, first.start, first.end) == ('blocks.0', 'norm1', 'drop_path1')
    assert (first.implementation, first.reason) == ('subset', 'asked for')
    assert first.kept_rows(128) == pytest.approx(70.4)
    assert first.computed_rows(128) == pytest.approx(70.4)
    assert first.computed_rows(16) == pytest.approx(8.8)
    assert first.realised_rate(16) == pytest.approx(0.45)
    assert report.computed_share(16) == pytest.approx(0.55)
    table = report.table(16)
    assert 'blocks.2' in table and 'norm2 -> drop_path2' in table and '8.8' in table
    assert str(report) == report.table(report.batch_size)


def test_computed_rows_of_the_report_are_what_the_branch_sees():
    model = vit().train()
    seen = []
    for batch in (1, 2, 5, 70):
        report = apply_stochastic_depth(model, 0.6, implementation='subset')
        handle = model.blocks[1].attn.register_forward_pre_hook(lambda m, a: seen.append(len(a[0])))
        with torch.no_grad():
            for _ in range(60):
                model(torch.zeros(batch, 3, 32, 32))
        handle.remove()
        mean = sum(seen) / len(seen)
        assert mean == pytest.approx(report.blocks[2].computed_rows(batch), abs=0.35)
        seen.clear()
        remove_stochastic_depth(model)


def test_none_keeps_the_rates_of_the_model_and_of_an_earlier_call():
    model = vit(drop_path_rate=0.3)
    rates = [b.rate for b in apply_stochastic_depth(model).blocks]
    assert rates == pytest.approx([0, 0, 0.15, 0.15, 0.3, 0.3])
    apply_stochastic_depth(model, 0.2)
    assert [b.rate for b in apply_stochastic_depth(model).blocks] == [0.2] * 6
    assert max_drop_rate(model) == 0.2


def test_linear_schedule_over_blocks():
    report = apply_stochastic_depth(vit(), 0.4, schedule='linear')
    assert [b.rate for b in report.blocks] == pytest.approx([0, 0, 0.2, 0.2, 0.4, 0.4])
    assert block_rates(0.4, 1, 'linear') == [0.4]


def test_max_drop_rate_of_plain_drop_path_and_of_none():
    assert max_drop_rate(vit(drop_path_rate=0.3)) == pytest.approx(0.3)
    assert max_drop_rate(vit()) == 0
    assert max_drop_rate(nn.Linear(2, 2)) == 0


def _note_kept(kept, module, args, output):
    kept.append(output.flatten(1).abs().sum(1) > 0)


def test_mask_and_subset_keep_the_same_rows_after_the_same_seed():
    rows = []
    for implementation in ('mask', 'subset'):
        model = vit().train()
        apply_stochastic_depth(model, 0.5, implementation=implementation)
        kept = []
        note = partial(_note_kept, kept)
        for module in model.modules():
            if isinstance(module, StochasticDepth):
                module.register_forward_hook(note)
        torch.manual_seed(11)
        for _ in range(2):
            model(torch.ones(8, 3, 32, 32))
        rows.append(torch.stack(kept))
    assert torch.equal(*rows)
    # layers, branches and steps draw on their own
    assert len({tuple(row.tolist()) for row in rows[0]}) > 6


@pytest.mark.parametrize(('batch', 'rate'), [(1, 0.3), (2, 0.1), (3, 0.6), (5, 0.45)])
def test_expected_output_and_realised_rate_equal_masking(batch, rate):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Linear(1, 1, bias=False)
            self.drop_path = nn.Identity()

        def forward(self, x):
            return x + self.drop_path(self.scale(x))

    register_block(Block, Branch('scale', 'drop_path'))
    try:
        model = Block().double().train()
        nn.init.ones_(model.scale.weight)
        apply_stochastic_depth(model, rate, implementation='subset')
        x = torch.ones(batch, 1, dtype=torch.float64)
        steps = 3000
        with torch.no_grad():
            mean = sum(model(x) for _ in range(steps)) / steps
    finally:
        BLOCKS.pop(f'{Block.__module__}.{Block.__qualname__}')
    error = 5 * (rate / (1 - rate) / steps) ** 0.5
    assert (mean - 2).abs().max() < error
    assert realised_drop_rate(model) == pytest.approx(rate, abs=5 * 0.5 / batch / steps**0.5)


def test_scaled_rates_for_a_warm_up():
    model = vit()
    with pytest.raises(ValueError, match='no stochastic depth'):
        scale_drop_rates(model, 0.5)
    with pytest.raises(ValueError, match='no stochastic depth'):
        realised_drop_rate(model)
    apply_stochastic_depth(model, 0.4)
    scale_drop_rates(model, 0.25)
    assert {b.rate for b in describe(model).blocks} == {0.1}
    scale_drop_rates(model, 1.0)
    assert {b.rate for b in describe(model).blocks} == {0.4}
    with pytest.raises(ValueError, match=r'\[0, 1\]'):
        scale_drop_rates(model, 1.5)


@pytest.mark.parametrize('rate', [-0.1, 1.0, 1.5, float('nan')])
def test_a_rate_outside_its_range(rate):
    with pytest.raises(ValueError, match=r'must lie in \[0, 1\)'):
        apply_stochastic_depth(vit(), rate)


def test_unknown_words():
    with pytest.raises(ValueError, match="'cosine' is unknown; choose from.*linear"):
        apply_stochastic_depth(vit(), 0.1, schedule='cosine')
    with pytest.raises(ValueError, match="'fast' is unknown; choose from.*subset"):
        apply_stochastic_depth(vit(), 0.1, implementation='fast')


def test_a_model_without_residual_branches():
    with pytest.raises(ValueError, match=r'No residual branch was found in Sequential.*Branch'):
        apply_stochastic_depth(nn.Sequential(nn.Linear(2, 2)), 0.1)


def test_applying_twice():
    model = vit()
    apply_stochastic_depth(model, 0.1)
    ends = [m for m in model.modules() if isinstance(m, StochasticDepth)]
    report = apply_stochastic_depth(model, 0.1)  # nothing changes
    assert report.blocks == describe(model).blocks and len(report.blocks) == 6
    assert [m for m in model.modules() if isinstance(m, StochasticDepth)] == ends
    model.blocks.append(vit().blocks[0])  # a block has come since
    assert len(apply_stochastic_depth(model, 0.1).blocks) == 8
    del model.blocks[3]
    report = apply_stochastic_depth(model, 0.2, implementation='mask')
    assert {(b.rate, b.implementation) for b in report.blocks} == {(0.2, 'mask')}
    assert sum(isinstance(m, StochasticDepth) for m in model.modules()) == 6
    rows = []
    apply_stochastic_depth(model, 0.5, implementation='subset')
    model.blocks[0].attn.register_forward_pre_hook(lambda m, args: rows.append(len(args[0])))
    model.train()(torch.randn(8, 3, 32, 32))
    assert rows == [4]  # gathered once


def test_the_same_block_under_two_names():
    model = vit()
    model.blocks[2] = model.blocks[0]
    with pytest.raises(ValueError, match=r"'blocks.0' and 'blocks.2' are the same block.*deepcopy"):
        apply_stochastic_depth(model, 0.1)


def test_blocks_without_a_shortcut_are_named_and_left_alone():
    model = timm.create_model('regnetz_005').train()
    report = apply_stochastic_depth(model, 0.3, implementation='subset')
    without = [n for n, m in model.named_modules() if getattr(m, 'downsample', 1) is None]
    assert without and set(report.skipped) == {f'{name}.drop_path' for name in without}
    assert 'no shortcut (downsample is None)' in str(report)
    assert not {branch.block for branch in report.blocks} & set(without)
    model(torch.randn(3, 3, 64, 64)).sum().backward()


def test_a_failed_call_leaves_the_model_as_it_was():
    model = vit()
    model.blocks[1].drop_path2 = nn.Linear(24, 24)
    with pytest.raises(ValueError, match='neither a DropPath nor an Identity'):
        apply_stochastic_depth(model, 0.1)
    assert describe(model) is None
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in model.modules())
    assert not any(m._forward_hooks_always_called for m in model.modules())
    assert not any('forward' in vars(m) for m in model.modules())


def test_a_wrong_registration_names_what_is_missing():
    class Block(nn.Module):
        def forward(self, x):
            return x

    class Child(Block):
        pass

    with pytest.raises(ValueError, match='at least one Branch'):
        register_block(Block)
    with pytest.raises(ValueError, match=r'inherits its forward; register .*Block'):
        register_block(Child, Branch('a', 'b'))
    register_block(Block, Branch('conv', 'drop_path'))
    try:
        with pytest.raises(ValueError, match=r'Block has no branch.*drop_path'):
            apply_stochastic_depth(Block(), 0.1)
    finally:
        BLOCKS.pop(f'{Block.__module__}.{Block.__qualname__}')
