"""Intervals and tests by cluster: against theory, scipy and the plain loop; how often they hold; and at their edges."""

from __future__ import annotations

import doctest
import time
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from zsecli.evaluate import intervals
from zsecli.evaluate.intervals import confidence_interval, correct_by_holm, paired_test, sign_flip_p

Values = NDArray[np.float64]


def clustered(
    rng: np.random.Generator, count: int, each: int, correlation: float, mean: float
) -> tuple[Values, Values]:
    """Hits of `count` clusters of `each` queries with this intra-cluster correlation, and the clusters."""
    k = 1 / correlation - 1
    shares = np.repeat(rng.beta(mean * k, (1 - mean) * k, count), each)
    return (rng.random(count * each) < shares).astype(float), np.repeat(np.arange(count), each)


@pytest.mark.fast
@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959964), (0.8, 1.281552)])
def test_independent_queries_agree_with_normal_theory(level: float, z: float) -> None:
    values = np.random.default_rng(0).beta(0.6, 0.9, size=2000)
    half = z * values.std() / np.sqrt(len(values))
    expected = values.mean() - half, values.mean() + half
    assert confidence_interval(values, np.arange(2000), level=level) == pytest.approx(expected, abs=0.05 * half)


@pytest.mark.fast
def test_hits_of_single_queries_have_wilsons_interval() -> None:
    """With t of n - 1 degrees of freedom and variance over n - 1, in the place of z and n."""
    for hits, count in ((19, 20), (12, 20), (97, 100)):
        values = np.arange(count) < hits
        found = confidence_interval(values.astype(float), np.arange(count))
        t = stats.t.ppf(0.975, count - 1)
        known = stats.binomtest(hits, count).proportion_ci(2 * stats.norm.cdf(t) - 1, "wilson")
        assert found == pytest.approx((known.low, known.high), abs=0.02)
        assert known.low - found.low >= -1e-9  # no narrower


@pytest.mark.fast
def test_equal_clusters_are_as_good_as_their_means() -> None:
    """Wide bounds, where Wilson's scale is straight: the t interval of the clusters' means."""
    means = np.random.default_rng(3).permutation(np.linspace(-1, 1.5, 12))
    values, clusters = np.repeat(means, 7), np.repeat(np.arange(12), 7)
    known = stats.t.interval(0.95, 11, means.mean(), stats.sem(means))
    assert confidence_interval(values, clusters, bounds=(-1e4, 1e4)) == pytest.approx(known, abs=1e-3)
    wider = confidence_interval(np.append(values, values[:21]), np.append(clusters, clusters[:21]), bounds=(-1e4, 1e4))
    assert wider is not None and wider.high - wider.low > known[1] - known[0]  # sizes differ: fewer degrees of freedom


@pytest.mark.fast
def test_t_quantiles_are_scipys() -> None:
    for freedom in (1.0, 1.7, 2.5, 9.0, 99.5, 5000.0):
        for level in (0.5, 0.95, 0.999):
            assert intervals._t_quantile(level, freedom) == pytest.approx(stats.t.ppf((1 + level) / 2, freedom))


@pytest.mark.parametrize(
    ("count", "each", "correlation", "mean"), [(6, 20, 0.3, 0.5), (10, 20, 0.6, 0.9), (25, 8, 0.3, 0.97)]
)
def test_it_covers_where_queries_of_a_class_go_together(count: int, each: int, correlation: float, mean: float) -> None:
    rng = np.random.default_rng(1)
    held = []
    for _ in range(400):
        low, high = confidence_interval(*clustered(rng, count, each, correlation, mean))  # type: ignore[misc]
        held.append(low <= mean <= high)
    assert np.mean(held) > 0.92


@pytest.mark.fast
@pytest.mark.parametrize("mean", [0.97, 0.03, 0.5])
def test_it_covers_few_independent_queries_near_a_bound(mean: float) -> None:
    rng = np.random.default_rng(2)
    held = []
    for _ in range(400):
        low, high = confidence_interval((rng.random(20) < mean).astype(float), np.arange(20))  # type: ignore[misc]
        assert 0 <= low < high <= 1
        held.append(low <= mean <= high)
    assert np.mean(held) > 0.92


@pytest.mark.fast
def test_no_interval_is_of_no_width() -> None:
    for value in (0.0, 0.1, 1.0):
        low, high = confidence_interval(np.full(21, value), np.repeat(np.arange(7), 3))  # type: ignore[misc]
        assert 0 <= low <= value <= high <= 1 and high - low > 0.3
    one_missed = 1 - 0.025 ** (1 / 20)  # what Clopper and Pearson say of 20 hits in 20
    assert confidence_interval(np.ones(20), np.arange(20)) == pytest.approx((1 - one_missed, 1))
    same = paired_test(np.full(30, 0.4), np.full(30, 0.4), np.repeat(np.arange(10), 3))
    assert same.p == 1 and same.low is not None and same.low < 0 < same.high  # type: ignore[operator]


@pytest.mark.fast
def test_one_cluster_has_no_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert confidence_interval(values, np.zeros(50)) is None
    alone = paired_test(values, values + 0.1, np.zeros(50))
    assert (alone.low, alone.high, alone.p) == (None, None, 1.0)
    assert confidence_interval(values, np.repeat([0, 1], 25)) is not None
    with pytest.raises(ValueError, match="without a query"):
        confidence_interval(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="a cluster for every query"):
        confidence_interval(values, np.zeros(3))
    with pytest.raises(ValueError, match="range"):
        confidence_interval(values, np.arange(50), level=1.5)


@pytest.mark.fast
def test_the_order_of_queries_and_the_names_of_clusters_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    values, clusters = rng.random(60), rng.integers(7, size=60)
    names, order = np.array([f"class {9 - c}" for c in clusters], object), rng.permutation(60)
    known = confidence_interval(values, clusters)
    assert confidence_interval(values[order], names[order]) == pytest.approx(known)
    p = sign_flip_p(values - 0.4, clusters)
    assert sign_flip_p((values - 0.4)[order], names[order]) == pytest.approx(p)


@pytest.mark.fast
@pytest.mark.parametrize("count", [1, 2, 4, 6, 9])
def test_all_differences_one_way_are_as_rare_as_coins(count: int) -> None:
    differences = np.random.default_rng(count).uniform(0.1, 0.9, count * 5)
    assert sign_flip_p(differences, np.repeat(np.arange(count), 5)) == 2 / 2**count
    assert sign_flip_p(-differences, np.repeat(np.arange(count), 5)) == 2 / 2**count


@pytest.mark.fast
def test_the_test_is_the_plain_loop() -> None:
    rng = np.random.default_rng(5)
    a, b, clusters = rng.random(40), rng.random(40), rng.integers(9, size=40)
    sums = np.array([(b - a)[clusters == c].sum() for c in range(9)])
    known = np.mean([abs(np.dot(signs, sums)) >= abs(sums.sum()) - 1e-12 for signs in product((-1, 1), repeat=9)])
    found = paired_test(a, b, clusters)
    assert found.p == pytest.approx(known)
    assert found.difference == pytest.approx((b - a).mean())
    assert (found.low, found.high) == confidence_interval(b - a, clusters, bounds=(-1, 1))


@pytest.mark.fast
def test_random_signs_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = np.random.default_rng(6).normal(0.3, 1, 14)
    exact = sign_flip_p(differences, np.arange(14))
    monkeypatch.setattr(intervals, "MAX_EXACT_CLUSTERS", 3)
    drawn = sign_flip_p(differences, np.arange(14))
    assert drawn == pytest.approx(exact, abs=0.01) and drawn != exact
    assert drawn == sign_flip_p(differences, np.arange(14), seed=0) != sign_flip_p(differences, np.arange(14), seed=1)
    monkeypatch.setattr(intervals, "_SIGNS_AT_ONCE", 100)  # in chunks that do not divide their number
    assert sign_flip_p(differences, np.arange(14)) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("count", [6, 25])
def test_the_test_holds_its_level_where_queries_go_together(count: int) -> None:
    rng = np.random.default_rng(7)
    wrong = []
    for _ in range(400):
        a, clusters = clustered(rng, count, 8, 0.6, 0.5)
        b, _ = clustered(rng, count, 8, 0.6, 0.5)
        wrong.append(sign_flip_p(b - a, clusters) < 0.05)
    assert np.mean(wrong) < 0.075


@pytest.mark.fast
def test_it_finds_what_is_there() -> None:
    rng = np.random.default_rng(0)
    a, clusters = rng.random(300), np.repeat(np.arange(30), 10)
    assert paired_test(a, a + 0.05 + 0.1 * rng.standard_normal(300), clusters).p < 0.001


@pytest.mark.fast
def test_holm_by_hand() -> None:
    values = np.zeros(4)
    tests = [paired_test(values, values, np.arange(4))._replace(p=p) for p in (0.01, 0.04, 0.03, 0.5)]
    assert [t.p_holm for t in correct_by_holm(tests)] == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert [t.p for t in correct_by_holm(tests)] == [0.01, 0.04, 0.03, 0.5]


def test_a_benchmark_is_quick() -> None:
    rng = np.random.default_rng(0)
    values, clusters = rng.random(15_000), rng.integers(2500, size=15_000)
    start = time.perf_counter()
    confidence_interval(values, clusters)
    sign_flip_p(values - 0.5, clusters)
    assert time.perf_counter() - start < 5  # about 0.2 s; slack for a busy machine


@pytest.mark.fast
def test_doctests() -> None:
    result = doctest.testmod(intervals)
    assert result.attempted
    assert not result.failed
