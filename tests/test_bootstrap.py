"""The bootstrap interval against normal theory, and at its edges."""

import doctest
import time
import tracemalloc

import numpy as np
import pytest

from zsecli.evaluate import bootstrap
from zsecli.evaluate.bootstrap import confidence_interval


@pytest.mark.parametrize(("level", "z"), [(0.95, 1.959964), (0.8, 1.281552)])
def test_agrees_with_normal_theory(level: float, z: float) -> None:
    values = np.random.default_rng(0).beta(0.6, 0.9, size=2000)
    half = z * values.std() / np.sqrt(len(values))
    expected = values.mean() - half, values.mean() + half
    assert confidence_interval(values, level=level, resamples=4000) == pytest.approx(expected, abs=0.1 * half)


def test_covers_the_true_mean_as_often_as_it_says() -> None:
    samples = np.random.default_rng(1).random((300, 60))  # true mean 0.5
    bounds = np.array([confidence_interval(sample, resamples=400) for sample in samples])
    coverage = ((bounds[:, 0] <= 0.5) & (bounds[:, 1] >= 0.5)).mean()
    assert 0.90 <= coverage <= 0.98


def test_is_deterministic_by_seed() -> None:
    values = np.random.default_rng(0).random(50)
    assert confidence_interval(values) == confidence_interval(values, seed=0)
    assert confidence_interval(values) != confidence_interval(values, seed=1)


def test_chunks_do_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(51)
    whole = confidence_interval(values, resamples=101)
    for draws in (1, 500):  # a resample at a time, and chunks that do not divide the resamples
        monkeypatch.setattr(bootstrap, "_DRAWS_AT_ONCE", draws)
        assert confidence_interval(values, resamples=101) == whole


def test_edges() -> None:
    assert confidence_interval(np.array([0.3])) == (0.3, 0.3)
    low, high = confidence_interval(np.full(7, 0.1))
    assert low == high == pytest.approx(0.1)
    with pytest.raises(ValueError, match="without a query"):
        confidence_interval(np.array([]))
    with pytest.raises(ValueError, match="range"):
        confidence_interval(np.array([0.1, 0.2]), level=1.5)


def test_a_benchmark_is_quick_and_bounded_in_memory() -> None:
    values = np.random.default_rng(0).random(15_000)
    tracemalloc.start()
    start = time.perf_counter()
    confidence_interval(values)
    elapsed, (_, peak) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * 2**20  # all draws at once: 240 MB
    assert elapsed < 5  # about 0.2 s; slack for a busy machine


def test_doctests() -> None:
    result = doctest.testmod(bootstrap)
    assert result.attempted
    assert not result.failed
