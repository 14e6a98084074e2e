"""Paired comparison against scipy and against what can be counted by hand."""

import numpy as np
import pytest
from scipy.stats import bootstrap, permutation_test

from cosub_mm.analysis.study.statistics import compare, sign_flip_p

ARM = {0: 90.1, 1: 90.6, 2: 90.3, 3: 90.9, 4: 90.2, 5: 90.8, 7: 99.0}
BASE = {0: 90.0, 1: 90.1, 2: 90.2, 3: 90.1, 4: 90.3, 5: 90.2, 6: 10.0}


def test_a_comparison_is_of_the_seeds_that_both_have():
    found = compare(ARM, BASE)
    differences = np.array([ARM[seed] - BASE[seed] for seed in range(6)])
    assert found.pairs == 6 and found.difference == pytest.approx(differences.mean())
    test = permutation_test(
        (differences,), lambda x: x.mean(), permutation_type='samples', n_resamples=np.inf
    )
    assert found.p == pytest.approx(test.pvalue)
    interval = bootstrap((differences,), np.mean, method='BCa', rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx(tuple(interval), abs=0.03)
    assert found.verdict == 'better'


def test_verdicts():
    same = {seed: BASE[seed] + (-1) ** seed * 0.1 for seed in range(6)}
    assert compare(same, BASE).verdict == 'within noise'
    assert compare(BASE, ARM).verdict == 'worse'
    assert compare({0: 1.0, 1: 2.0}, BASE).verdict == 'too few seeds'
    assert compare({9: 1.0}, BASE).pairs == 0
    equal = compare(BASE, BASE)
    assert (equal.low, equal.high, equal.p) == (0, 0, 1)


def test_the_least_p_is_that_of_the_number_of_pairs():
    """Six seeds are the fewest that can reach .05."""
    assert sign_flip_p([1.0] * 5) == 2 / 2**5
    assert sign_flip_p([1.0] * 6) == 2 / 2**6 < 0.05
    assert sign_flip_p([0.1] * 20) < 0.001  # drawn, not counted
