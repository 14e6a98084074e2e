import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from cosub_mm.stochastic_depth import rounded_rate
from cosub_mm.stochastic_depth.functional import (
    STATIC_FROM,
    draw_rows,
    kept_count,
    mask_rows,
    put_rows,
    take_rows,
    weigh,
)

BATCHES = (1, 2, 3, 4, 7, 16, 63, 64, 65, 100)
RATES = (0.05, 0.1, 0.2, 0.45, 0.6, 0.9)


def test_kept_count_sees_whole_numbers_through_rounding():
    assert 20 * (1 - 0.7) > 6
    assert kept_count(20, 0.7) == (6, 0.0)
    assert 5 * (1 - 0.8) < 1
    assert kept_count(5, 0.8) == (1, 0.0)
    assert kept_count(2, 0.1) == (1, pytest.approx(0.8))


@pytest.mark.parametrize('rate', RATES)
@pytest.mark.parametrize('batch', BATCHES)
def test_each_row_is_kept_with_the_asked_probability(batch, rate):
    steps = 1500
    kept = torch.zeros(batch)
    for _ in range(steps):
        rows = draw_rows(batch, rate, 'cpu')
        weight = 1.0 if rows.weight is None else rows.weight
        kept[rows.index] += weight
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


def test_large_batches_compute_the_same_number_of_rows_each_step():
    counts = {len(draw_rows(STATIC_FROM + 1, 0.35, 'cpu').index) for _ in range(50)}
    assert counts == {math.ceil((STATIC_FROM + 1) * 0.65)}


def test_small_batches_compute_what_they_keep_and_never_nothing():
    sizes = [len(draw_rows(2, 0.6, 'cpu').index) for _ in range(200)]
    assert set(sizes) == {1}  # .8 rows expected: one, or one that is thrown away
    weights = [draw_rows(2, 0.6, 'cpu').weight for _ in range(200)]
    assert any(w is not None and w.sum() == 0 for w in weights)
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


@pytest.mark.parametrize('shape', [(5, 3), (5, 2, 3), (5, 2, 3, 4)])
def test_take_and_put_equal_torch_and_their_derivatives_hold(shape):
    index = torch.tensor([3, 0, 4])
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    taken = take_rows(x, index)
    assert torch.equal(taken, x[index])
    put = put_rows(taken, index, 5)
    assert torch.equal(put, torch.zeros_like(x).index_add(0, index, x[index]))
    assert gradcheck(lambda x: put_rows(take_rows(x, index).sin(), index, 5), x)
    assert gradgradcheck(lambda x: put_rows(take_rows(x, index).sin(), index, 5), x)


@pytest.mark.parametrize('weighted', [False, True])
def test_put_equals_mask(weighted):
    rows = draw_rows(7, 0.4, 'cpu')
    if weighted:
        rows = rows._replace(weight=torch.arange(len(rows.index)).clamp(max=1).float())
    residual = torch.randn(7, 4, dtype=torch.float64)
    subset = put_rows(weigh(take_rows(residual, rows.index), rows), rows.index, 7)
    torch.testing.assert_close(subset, mask_rows(residual, rows), rtol=0, atol=1e-15)


def test_channels_last_is_kept_both_ways():
    x = torch.randn(6, 4, 5, 5).to(memory_format=torch.channels_last)
    index = torch.tensor([5, 1])
    taken = take_rows(x, index)
    assert taken.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(taken, x[index])
    put = put_rows(taken, index, 6)
    assert put.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(put[index], taken)


def test_gather_and_scatter_save_only_the_indices():
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: sizes.append(t.numel()) or t, lambda t: t
    ):
        x = torch.randn(8, 100, requires_grad=True)
        put_rows(take_rows(x, torch.arange(4)), torch.arange(4), 8)
    assert sizes == [4, 4]


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
    command = [sys.executable, str(tool), '--rates', '.1', '--batch-sizes', '2', '64']
    command += ['--draws', '100', '--out', str(plot)]
    env = {**os.environ, 'PYTHONPATH': str(root)}
    text = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    assert text.splitlines()[1].split()[:4] == ['0.10', '2', '0.000', '0.500']
    assert plot.stat().st_size > 1000
