import math
import os
from pathlib import Path

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from cosub_mm.stochastic_depth import rounded_rate
from cosub_mm.stochastic_depth.rows.draw import Rows, draw_rows, kept_count
from cosub_mm.stochastic_depth.rows.functional import mask_rows, put_rows, take_rows
from tests import fresh

BATCHES = (1, 2, 3, 4, 7, 16, 63, 64, 65, 100)
RATES = (0.05, 0.1, 0.2, 0.45, 0.6, 0.9)


def test_kept_count_sees_whole_numbers_through_rounding():
    assert 20 * (1 - 0.7) > 6
    assert kept_count(20, 0.7) == (6, 0.0)
    assert 5 * (1 - 0.8) < 1
    assert kept_count(5, 0.8) == (1, 0.0)
    assert kept_count(2, 0.1) == (1, pytest.approx(0.8))


def test_a_rate_close_to_one_still_computes_a_row():
    rows = draw_rows(6, 1 - 1e-12, 'cpu')
    assert (len(rows.index), rows.kept) == (1, 0)


@pytest.mark.parametrize('rate', RATES)
@pytest.mark.parametrize('batch', BATCHES)
def test_each_row_is_kept_with_the_asked_probability(batch, rate):
    steps = 1500
    kept = torch.zeros(batch)
    for _ in range(steps):
        rows = draw_rows(batch, rate, 'cpu')
        kept[rows.index[: rows.kept]] += 1
    keep = 1 - rate
    # five standard errors; the total over rows varies less than independent rows would
    error = 5 * math.sqrt(keep * rate / steps)
    assert (kept / steps - keep).abs().max() < error
    assert abs(kept.mean() / steps - keep) < 5 * 0.5 / batch / math.sqrt(steps) + 1e-6


@pytest.mark.parametrize('batch', BATCHES)
def test_residual_expectation_is_the_full_residual(batch):
    rate, steps = 0.3, 2000
    residual = torch.ones(batch, 1)
    mean = sum(mask_rows(residual, draw_rows(batch, rate, 'cpu')) for _ in range(steps)) / steps
    assert (mean - 1).abs().max() < 5 * math.sqrt(rate / (1 - rate) / steps)


def test_no_row_is_computed_that_is_not_kept_but_one_where_none_is():
    drawn = [draw_rows(65, 0.35, 'cpu') for _ in range(50)]
    assert {len(rows.index) for rows in drawn} == {42, 43}
    assert all(len(rows.index) == rows.kept for rows in drawn)
    sizes = [len(draw_rows(2, 0.6, 'cpu').index) for _ in range(200)]
    assert set(sizes) == {1}  # .8 rows expected: one, or one that is thrown away
    assert {draw_rows(2, 0.6, 'cpu').kept for _ in range(200)} == {0, 1}
    assert {len(draw_rows(4, 0.4, 'cpu').index) for _ in range(100)} == {2, 3}


def test_draws_follow_the_global_seed():
    torch.manual_seed(3)
    first = [draw_rows(10, 0.5, 'cpu').index for _ in range(3)]
    torch.manual_seed(3)
    again = [draw_rows(10, 0.5, 'cpu').index for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first[0], first[1])


def test_neighbouring_rows_are_not_tied():
    kept = torch.zeros(4000, 8)
    for row in kept:
        row[draw_rows(8, 0.5, 'cpu').index] = 1
    correlation = torch.corrcoef(kept.T)
    off_diagonal = correlation[~torch.eye(8, dtype=torch.bool)]
    # a fixed count makes every pair slightly negative, -1 / (n - 1), and no pair stand out
    assert (off_diagonal + 1 / 7).abs().max() < 0.08


SHAPES = [(5, 3), (5, 2, 3), (5, 2, 3, 4)]


def some_rows(kept=3, scale=1.5):
    return Rows(torch.tensor([3, 0, 4]), kept, None, scale, 5)


@pytest.mark.parametrize('kept', [3, 2, 0])
@pytest.mark.parametrize('shape', SHAPES)
def test_take_and_put_equal_plain_indexing(shape, kept):
    rows, x = some_rows(kept), torch.randn(shape, dtype=torch.float64)
    taken = take_rows(x, rows)
    assert torch.equal(taken, x[rows.index])
    expected = torch.zeros_like(x)
    for i, row in enumerate(rows.index[:kept]):
        expected[row] = 1.5 * taken[i]
    exact = dict(rtol=0, atol=1e-15)  # the kernel may fuse the product into the sum
    torch.testing.assert_close(put_rows(taken, rows), expected, **exact)


@pytest.mark.parametrize('kept', [3, 2])
@pytest.mark.parametrize('shape', SHAPES)
def test_first_and_second_derivatives_hold(shape, kept):
    rows = some_rows(kept)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)

    def branch(x):
        return x + put_rows(take_rows(x, rows).sin(), rows)

    assert gradcheck(branch, x)
    assert gradgradcheck(branch, x)


@pytest.mark.parametrize('rest', ['all kept', 'one thrown away', 'coin 0', 'coin 1'])
def test_put_equals_mask(rest):
    rows = draw_rows(7, 3 / 7, 'cpu')
    assert rows.kept == len(rows.index) == 4
    if rest != 'all kept':
        coin = None if 'coin' not in rest else torch.tensor([float(rest[-1])])
        rows = rows._replace(kept=3, coin=coin)
    residual = torch.randn(7, 4, dtype=torch.float64)
    subset = put_rows(take_rows(residual, rows), rows)
    assert int((subset.abs().sum(1) > 0).sum()) == (4 if rest in ('all kept', 'coin 1') else 3)
    torch.testing.assert_close(subset, mask_rows(residual, rows), rtol=0, atol=1e-15)


def test_channels_last_is_kept_both_ways():
    rows = Rows(torch.tensor([5, 1]), 2, None, 1.0, 6)
    x = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last)
    taken = take_rows(x, rows)
    assert torch.equal(taken, x[rows.index])
    put = put_rows(taken, rows)
    for result in (taken, put):
        assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(put[rows.index], taken)
    z = x.clone().requires_grad_()
    put_rows(take_rows(z, rows) * 2, rows).sum().backward()
    assert z.grad.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(z.grad, torch.zeros_like(x).index_fill(0, rows.index, 2.0))


def test_gather_and_put_save_only_the_indices():
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: sizes.append(t.numel()) or t, lambda t: t
    ):
        taken = take_rows(torch.randn(5, 100, requires_grad=True), some_rows())
        put_rows(taken, some_rows())
    assert set(sizes) == {3}


def test_rounding_distorts_and_ours_does_not():
    assert rounded_rate(0.1, 2, 'round') == 0
    assert rounded_rate(0.1, 2, 'floor') == 0.5
    assert rounded_rate(0.1, 2) == pytest.approx(0.1, abs=0.025)
    assert rounded_rate(0.6, 1, 'floor') == 0
    assert rounded_rate(0.45, 128, 'round') == pytest.approx(58 / 128)
    for arguments in ((1.0, 2, 'ours'), (0.1, 0, 'ours'), (0.1, 2, 'ceil')):
        with pytest.raises(ValueError, match='must'):
            rounded_rate(*arguments)


def test_the_command_prints_and_plots_it(tmp_path):
    root = Path(__file__).parents[2]
    tool = root / 'tools/analysis_tools/drop_rate_quantization.py'
    plot = tmp_path / 'plots/rates.png'
    command = [str(tool), '--rates', '.1', '--batch-sizes', '2', '64']
    command += ['--draws', '100', '--out', str(plot)]
    env = {**os.environ, 'PYTHONPATH': str(root)}
    done = fresh.run(command, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[:4] == ['0.10', '2', '0.000', '0.500']
    assert plot.stat().st_size > 1000
