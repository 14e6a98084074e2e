"""The rows of all branches of a pass are drawn at once, and only where that is safe."""

import copy

import pytest
import timm
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from cosub_mm.stochastic_depth import apply_stochastic_depth, block_rates
from cosub_mm.stochastic_depth.rows.draw import draw_rows, draw_rows_at_once
from cosub_mm.stochastic_depth.step import plan
from tests.stochastic_depth.oldest import not_in_old_torch

CPU = torch.device('cpu')
DEPTH = 3


def vit(rate=0.5, implementation='subset', **kwargs):
    model = timm.create_model(
        'vit_tiny_patch16_224', depth=DEPTH, embed_dim=24, img_size=32, num_classes=5
    )
    apply_stochastic_depth(model, rate, implementation=implementation, **kwargs)
    return model.train()


@pytest.fixture
def together(monkeypatch):
    """How many branches were drawn for together, draw by draw."""
    numbers = []

    def note(batch, rates, *args):
        numbers.append(len(rates))
        return draw_rows_at_once(batch, rates, *args)

    monkeypatch.setattr(plan, 'draw_rows_at_once', note)
    return numbers


@pytest.mark.parametrize('batch', [1, 5, 64, 70])
def test_at_once_or_one_after_the_other_the_rows_are_the_same(batch):
    rates = [*block_rates(0.6, 4, 'linear'), 0.5, 0.5]
    scales = [True, False] * 3
    torch.manual_seed(5)
    at_once = draw_rows_at_once(batch, rates, CPU, scales)
    torch.manual_seed(5)
    for rate, scale, rows in zip(rates, scales, at_once, strict=True):
        alone = draw_rows(batch, rate, 'cpu', scale)
        assert torch.equal(alone.index, rows.index)
        assert alone[1:] == rows[1:]


def test_each_row_of_each_branch_is_kept_with_its_probability():
    steps, batch, rates = 1500, 5, (0.2, 0.45)
    kept = torch.zeros(len(rates), batch)
    both = 0
    for _ in range(steps):
        drawn = draw_rows_at_once(batch, rates, CPU, (True, True))
        for count, rows in zip(kept, drawn):
            count[rows.index[: rows.kept]] += 1
        both += int(bool((drawn[0].index[: drawn[0].kept] == 0).any())) * int(
            bool((drawn[1].index[: drawn[1].kept] == 0).any())
        )
    keep = 1 - torch.tensor(rates)[:, None]
    error = 5 * (keep * (1 - keep) / steps).sqrt()
    assert ((kept / steps - keep).abs() < error).all()
    assert abs(both / steps - 0.8 * 0.55) < 5 * (0.44 * 0.56 / steps) ** 0.5  # one knows no other


TOGETHER = not_in_old_torch('does not say whether a pass may be computed anew: no draw is shared')


@TOGETHER
@pytest.mark.parametrize('implementation', ['mask', 'subset'])
def test_a_pass_draws_once_for_all_its_branches(implementation, together):
    model, names = vit(implementation=implementation), []

    class Random(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if 'rand' in func.name():
                names.append(func.name())
            return func(*args, **(kwargs or {}))

    x = torch.randn(6, 3, 32, 32)
    for _ in range(2):
        with Random():
            model(x)
    assert together == [2 * DEPTH] * 2
    assert names == ['aten::rand'] * 2


@pytest.mark.parametrize('reentrant', [False, True])
def test_what_may_be_computed_anew_draws_for_itself(reentrant, together):
    """Else a block would get other rows for backward than for forward."""
    model, x = vit(), torch.randn(6, 3, 32, 32, requires_grad=True)
    checkpoint(model, x, use_reentrant=reentrant).sum().backward()
    model.set_grad_checkpointing()
    model(x).sum().backward()
    with torch.no_grad():
        model(x)
    assert not together


@TOGETHER
def test_blocks_outside_a_pass_draw_for_themselves(together):
    model, x = vit(), torch.randn(6, 3, 32, 32)

    def fail(module, args):
        raise MemoryError('full')

    handle = model.blocks[0].mlp.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        model(x)
    handle.remove()
    stream = torch.randn(6, 5, 24)
    results = []
    for _ in range(2):
        torch.manual_seed(1)  # must rule: nothing of the pass that failed is left
        results.append(model.blocks[2](stream))
    assert torch.equal(*results) and together == [2 * DEPTH]


@TOGETHER
def test_a_copy_made_within_a_pass_has_none_of_its_rows(together):
    model, x = vit(), torch.randn(6, 3, 32, 32)
    twins = []
    model.blocks[1].register_forward_pre_hook(
        lambda module, args: twins.append(copy.deepcopy(module)) if not twins else None
    )
    model(x)
    stream, results = torch.randn(6, 5, 24), []
    for _ in range(2):
        torch.manual_seed(1)
        results.append(twins[0](stream))
    assert torch.equal(*results) and together == [2 * DEPTH]
