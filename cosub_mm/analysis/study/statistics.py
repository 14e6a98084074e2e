"""Paired comparison of two arms: differences seed by seed, and how sure they are."""

from collections.abc import Sequence
from itertools import product
from statistics import mean, stdev
from typing import NamedTuple

import numpy as np

__all__ = ['Comparison', 'compare', 'sign_flip_p']

MOST_EXACT = 14  # 2 ** 14 sign patterns are enumerated, more are drawn


class Comparison(NamedTuple):
    """An arm against the baseline, over the seeds that both have.

    Attributes:
        pairs: how many seeds.
        difference: mean of the paired differences.
        low: lower end of its 95% interval; NaN with fewer than 3 pairs.
        high: upper end.
        p: two-sided, of the sign-flip test.
    """

    pairs: int
    difference: float
    low: float
    high: float
    p: float

    @property
    def verdict(self) -> str:
        """In words."""
        if np.isnan(self.low):
            return 'too few seeds'
        if self.low <= 0 <= self.high:
            return 'within noise'
        return 'better' if self.difference > 0 else 'worse'


def compare(arm: dict[int, float], baseline: dict[int, float]) -> Comparison:
    """Compare by seed: a seed is the same initial weights and order of the data.

    The interval is the bias-corrected and accelerated bootstrap's (BCa, Efron 1987; scipy), 9999
    resamples of the pairs.

    Args:
        arm: seed -> accuracy.
        baseline: seed -> accuracy.
    """
    seeds = sorted(arm.keys() & baseline.keys())
    differences = np.array([arm[seed] - baseline[seed] for seed in seeds])
    if not seeds:
        return Comparison(0, *[float('nan')] * 4)
    low = high = float('nan')
    if len(seeds) >= 3:
        low, high = _interval(differences)
    return Comparison(len(seeds), float(differences.mean()), low, high, sign_flip_p(differences))


def _interval(differences: np.ndarray) -> tuple[float, float]:
    if np.ptp(differences) == 0:  # BCa has no acceleration without any spread
        return float(differences[0]), float(differences[0])
    from scipy.stats import bootstrap

    found = bootstrap(
        (differences,), np.mean, method='BCa', confidence_level=0.95, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(found.low), float(found.high)


def sign_flip_p(differences: Sequence[float]) -> float:
    """Two-sided p value: how often random signs give a mean as far from 0 (exact to 14 pairs).

    Args:
        differences: of the pairs. With n of them the least value is 2 ** (1 - n).
    """
    values = np.asarray(differences, dtype=float)
    if len(values) <= MOST_EXACT:
        signs = np.array(list(product((-1, 1), repeat=len(values))))
    else:
        signs = np.random.default_rng(0).choice((-1, 1), size=(100_000, len(values)))
    means = np.abs(signs @ values)
    return float(np.mean(means >= abs(values.sum()) - 1e-12))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1); 0 for one value."""
    return mean(values), stdev(values) if len(values) > 1 else 0.0
