"""Confidence interval of a mean over queries, and test of a difference, where queries come in clusters.

Sketches of one class, or of one object, are not independent: a model that finds one duck finds the next. So classes (or
objects) are the unit of sampling, not queries. docs/metrics.md gives the formulas, docs/intervals.md their measured
coverage.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import atan, exp, lgamma, pi, sqrt, tan
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Floats64

KIND = "cluster-robust t on Wilson's scale (CR2)"
TEST = "sign-flip permutation of clusters"
FEWEST = 2  # clusters that an interval needs: one alone does not show how clusters differ
MAX_EXACT_CLUSTERS = 16  # up to so many, every combination of signs is tried
RANDOM_FLIPS = 20_000  # combinations drawn at random where there are more
_SIGNS_AT_ONCE = 2**21  # in memory


class Interval(NamedTuple):
    """Lower and upper bound."""

    low: float
    high: float


class PairedTest(NamedTuple):
    """Mean difference b - a over queries, with its interval and the p-value of "no difference"."""

    difference: float
    low: float | None
    """Lower bound of the interval; None where there are too few clusters."""
    high: float | None
    p: float
    p_holm: float
    """p corrected for the number of models that are compared with the first."""


def confidence_interval(
    values: Floats64, clusters: NDArray[Any], *, level: float = 0.95, bounds: tuple[float, float] = (0.0, 1.0)
) -> Interval | None:
    """Interval of the mean of `values` over the sampling of clusters; None where these are fewer than FEWEST.

    The standard error is cluster-robust (CR2: Bell & McCaffrey, 2002), t has their degrees of freedom, or fewer
    where few clusters carry the variance, and the interval is Wilson's (1927) with the effective number of
    values, so that it stays within the bounds and is wider towards their middle. Where all clusters agree exactly,
    it covers the share of different ones that may have been missed (Clopper & Pearson, 1934). Its width is never zero.

    Args:
        values: float64 (Q,), one for every query, within `bounds`.
        clusters: (Q,), for example the class of every query.
        level: nominal coverage.
        bounds: smallest and largest possible value.

    Raises:
        ValueError: no query, different lengths, or a level outside 0 to 1.

    >>> [round(bound, 3) for bound in confidence_interval(np.array([0.2, 0.4, 0.6, 0.8]), np.arange(4))]
    [0.183, 0.817]
    >>> [round(bound, 3) for bound in confidence_interval(np.ones(20), np.arange(20))]
    [0.832, 1.0]
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} is out of range: 0 < level < 1")
    totals, sizes = _sum_by_cluster(values, clusters)
    if len(sizes) < FEWEST:
        return None
    low, high = bounds
    mean = float(totals.sum() / sizes.sum())
    residuals = totals - mean * sizes
    shares = sizes / sizes.sum()
    if np.abs(residuals).max() <= 1e-9 * (high - low) * sizes.max():  # rounding errors apart, all clusters agree
        missed = 1 - ((1 - level) / 2) ** float((shares**2).sum())  # the exponent: 1 / the effective number of clusters
        return Interval(mean - missed * (mean - low), mean + missed * (high - mean))
    share = (mean - low) / (high - low)
    greatest = share * (1 - share)  # variance of values that lie at the bounds alone, in units of the range
    adjusted = residuals / np.sqrt(1 - shares) / (high - low)
    variance = float((adjusted**2).sum() / sizes.sum() ** 2)
    carrying = float((adjusted**2).sum() ** 2 / (adjusted**4).sum())  # a third of the clusters where these are normal
    freedom = _degrees_of_freedom(sizes)
    squared_t = _t_quantile(level, freedom) ** 2
    squared_wide_t = _t_quantile(level, max(1.0, min(freedom, 3 * carrying - 2))) ** 2
    # no wider than if each cluster were all at one bound: so hits of clusters of one query have Wilson's own interval
    squared = min(squared_wide_t * variance, squared_t * max(variance, greatest * float((shares**2).sum())))
    relative = squared / greatest
    middle = (share + relative / 2) / (1 + relative)
    half = sqrt(relative * greatest + relative**2 / 4) / (1 + relative)
    return Interval(low + (high - low) * max(0.0, middle - half), low + (high - low) * min(1.0, middle + half))


def paired_test(
    a: Floats64,
    b: Floats64,
    clusters: NDArray[Any],
    *,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> PairedTest:
    """Test whether mean(b - a) over the same queries differs from 0 by more than the sampling of clusters explains.

    The interval is that of `confidence_interval`, p that of `sign_flip_p`.

    Args:
        a, b: float64 (Q,), one metric of two models, within `bounds`.
        clusters, level: as in `confidence_interval`.
        seed: of the random signs.

    >>> paired_test(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([0, 0]))
    PairedTest(difference=0.0, low=None, high=None, p=1.0, p_holm=1.0)
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"need two values for every query, got {a.shape} and {b.shape}")
    widest = bounds[1] - bounds[0]
    interval = confidence_interval(b - a, clusters, level=level, bounds=(-widest, widest))
    low, high = interval or (None, None)
    p = sign_flip_p(b - a, clusters, seed=seed)
    return PairedTest(difference=float((b - a).mean()), low=low, high=high, p=p, p_holm=p)


def sign_flip_p(differences: Floats64, clusters: NDArray[Any], *, seed: int = 0) -> float:
    """Two-sided p-value of "these differences (Q,) are as likely with the opposite sign", flipping whole clusters.

    The share of all combinations of signs of the clusters' sums whose sum is at least as far from 0 (Fisher, 1935).
    It is exact where the models are exchangeable, and never below 2 / 2^C for C clusters. With more
    than MAX_EXACT_CLUSTERS that differ, RANDOM_FLIPS combinations are drawn by `seed`, one added to count and number
    (Davison & Hinkley, 1997, section 4.2).

    >>> sign_flip_p(np.array([0.1, 0.2, 0.3, 0.4]), np.arange(4))
    0.125
    """
    sums = _sum_by_cluster(differences, clusters)[0]
    tiny = 1e-12 * float(np.abs(sums).sum())
    sums = sums[np.abs(sums) > tiny]
    if not len(sums):
        return 1.0
    least = abs(float(sums.sum())) - tiny
    if len(sums) <= MAX_EXACT_CLUSTERS:
        flipped = sums[:1]  # one sign may stay fixed: the other half of the combinations mirrors this half
        for total in sums[1:]:
            flipped = np.concatenate([flipped + total, flipped - total])
        return float(np.mean(np.abs(flipped) >= least))
    rng = np.random.default_rng(seed)
    step = max(1, _SIGNS_AT_ONCE // len(sums))
    beyond = 0
    for start in range(0, RANDOM_FLIPS, step):
        signs = rng.integers(2, size=(min(step, RANDOM_FLIPS - start), len(sums)), dtype=np.int8)
        beyond += int(np.sum(np.abs(2 * (signs @ sums) - sums.sum()) >= least))
    return (beyond + 1) / (RANDOM_FLIPS + 1)


def correct_by_holm(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests with p corrected for their number, which bounds the family-wise error (Holm, 1979)."""
    corrected = [1.0] * len(tests)
    largest = 0.0
    by_p = sorted(range(len(tests)), key=lambda i: tests[i].p)
    for rank, i in enumerate(by_p):
        largest = max(largest, min(1.0, (len(tests) - rank) * tests[i].p))
        corrected[i] = largest
    return [test._replace(p_holm=p) for test, p in zip(tests, corrected, strict=True)]


def _sum_by_cluster(values: Floats64, clusters: NDArray[Any]) -> tuple[Floats64, Floats64]:
    """(C,) sum and (C,) number of the values of each cluster."""
    if not len(values):
        raise ValueError("no confidence interval without a query")
    if len(values) != len(clusters):
        raise ValueError(f"need a cluster for every query, got {len(clusters)} for {len(values)}")
    _, codes = np.unique(clusters, return_inverse=True)
    return np.bincount(codes, values).astype(np.float64), np.bincount(codes).astype(np.float64)


def _degrees_of_freedom(sizes: Floats64) -> float:
    """Satterthwaite's degrees of freedom of the CR2 variance of a mean over C > 1 clusters of these sizes (C,).

    The values are taken to be independent. C - 1 for equal sizes, fewer for others. In O(C): the matrix of Bell and
    McCaffrey (2002) is diag(w) - u - u' + s.
    """
    shares = sizes / sizes.sum()
    w = 1 / (1 - shares)
    u = shares * w
    s = float((shares * u).sum())
    total, first, second = (float((sizes * u**k).sum()) for k in range(3))
    trace = float((sizes * (w - 2 * u + s)).sum())
    square = s**2 * total**2 + 2 * second * total - 4 * s * first * total + 2 * first**2
    square += float((sizes**2 * (w**2 + 2 * w * (s - 2 * u))).sum())
    return trace**2 / square


@lru_cache(1000)
def _t_quantile(level: float, freedom: float) -> float:
    """The t with P(|T| <= t) = `level` of Student's distribution with `freedom` >= 1 degrees of freedom.

    With t = sqrt(freedom) tan(x), P is 2 / B(1/2, freedom / 2) times the integral of cos^(freedom - 1) from 0 to x.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    scale = 2 * exp(lgamma((freedom + 1) / 2) - lgamma(freedom / 2)) / sqrt(pi)
    low, high = 0.0, min(pi / 2, atan(1e6 / sqrt(freedom)))
    for _ in range(60):
        x = (low + high) / 2
        heights = np.exp((freedom - 1) * np.log(np.cos(x * (nodes + 1) / 2)))
        coverage = scale * x / 2 * float(weights @ heights)
        if coverage < level:
            low = x
        else:
            high = x
    return sqrt(freedom) * tan(low)
