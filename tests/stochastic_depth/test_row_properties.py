"""Draws and schedules of stochastic depth, for any batch, rate and depth."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosub_mm.stochastic_depth.rows.draw import draw_rows, kept_count
from cosub_mm.stochastic_depth.rows.functional import mask_rows, put_rows, take_rows
from cosub_mm.stochastic_depth.rows.schedule import SCHEDULES, block_rates, rounded_rate

RATES = st.one_of(
    st.floats(0, 1, exclude_max=True, allow_subnormal=False), st.sampled_from([0.1, 0.45, 0.7])
)
BATCHES = st.integers(1, 128)


@given(BATCHES, RATES)
def test_the_expected_count_is_split_and_nothing_lost(batch, rate):
    whole, more = kept_count(batch, rate)
    assert 0 <= whole <= batch and 0 <= more < 1
    assert whole + more == pytest.approx(batch * (1 - rate), abs=1e-6 * batch)


@given(BATCHES, RATES, st.integers(0, 2**32))
def test_a_draw_is_distinct_rows_of_the_batch_and_at_least_one(batch, rate, seed):
    torch.manual_seed(seed)
    rows = draw_rows(batch, rate, 'cpu')
    index = rows.index.tolist()
    assert len(set(index)) == len(index) and set(index) <= set(range(batch))
    whole, more = kept_count(batch, rate)
    assert rows.kept in ({whole, whole + 1} if more else {whole})
    assert len(index) == max(rows.kept, 1)
    assert rows.scale == pytest.approx(1 / (1 - rate))


@given(BATCHES, RATES, st.integers(0, 2**32), st.lists(st.integers(1, 3), max_size=3))
def test_the_subset_equals_the_mask_with_its_gradient(batch, rate, seed, shape):
    torch.manual_seed(seed)
    x = torch.randn(batch, *shape, dtype=torch.float64, requires_grad=True)
    rows = draw_rows(batch, min(rate, 0.99), 'cpu')
    taken = take_rows(x, rows)
    masked = x + mask_rows(x.sin(), rows)
    weight = torch.randn_like(x)
    (expected,) = torch.autograd.grad((masked * weight).sum(), x)
    ours = x + put_rows(taken.sin(), rows)
    torch.testing.assert_close(ours, masked, rtol=1e-14, atol=1e-14)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-13, atol=1e-13)


@given(RATES, st.integers(1, 200), st.sampled_from(SCHEDULES))
def test_rates_rise_to_the_one_asked_for(rate, blocks, schedule):
    rates = block_rates(rate, blocks, schedule)
    assert len(rates) == blocks and rates[-1] == pytest.approx(rate)
    assert rates == sorted(rates) and all(0 <= r < 1 for r in rates)
    steps = [b - a for a, b in pairwise(rates)]
    assert steps == pytest.approx([rate / max(blocks - 1, 1) * (schedule == 'linear')] * len(steps))


@given(st.one_of(st.floats(max_value=0, exclude_max=True), st.floats(1), st.just(float('nan'))))
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r'must lie in \[0, 1\)'):
        block_rates(rate, 2)


@given(RATES, BATCHES)
def test_rounding_is_off_by_half_a_row_and_flooring_by_one(rate, batch):
    assert abs(rounded_rate(rate, batch, 'round') - rate) <= 0.5 / batch + 1e-9
    floored = rounded_rate(rate, batch, 'floor')
    if batch * (1 - rate) >= 1:
        assert -1e-9 <= floored - rate <= 1 / batch + 1e-9
    else:
        assert floored == pytest.approx(1 - 1 / batch)
