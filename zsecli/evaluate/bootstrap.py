"""Confidence interval of a mean over queries, and of the difference of two."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_DRAWS_AT_ONCE = 2**20  # bounds the memory: 8 MiB of indices and 8 MiB of values


def confidence_interval(
    values: NDArray[np.float64], *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap of the mean (Efron, 1979): lower and upper bound.

    `values`, float64 (Q,): one metric's value for every query. Queries are drawn with replacement, so the
    interval covers the choice of queries, not of gallery, classes or training run. Deterministic by `seed`.

    >>> confidence_interval(np.array([0.25]))
    (0.25, 0.25)
    """
    if not len(values):
        raise ValueError("no confidence interval without a query")
    means = _means(values, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


class Paired(NamedTuple):
    """Mean of b - a over queries, its interval, and the two-sided p-value of "no difference"."""

    difference: float
    low: float
    high: float
    p: float


def paired(
    a: NDArray[np.float64], b: NDArray[np.float64], *, level: float = 0.95, resamples: int = 10000, seed: int = 0
) -> Paired:
    """Paired bootstrap of mean(b - a) over the same queries (Efron & Tibshirani, 1993, chapter 16; Sakai, 2006).

    `a`, `b`, float64 (Q,). p = 2 min(share of resampled differences <= 0, share >= 0), with one added to count and
    number of resamples so that it is never 0 (Davison & Hinkley, 1997, section 4.2).

    >>> paired(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    Paired(difference=0.0, low=0.0, high=0.0, p=1.0)
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"need two values for every query, got {a.shape} and {b.shape}")
    means = _means(b - a, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    tail = min(np.sum(means <= 0), np.sum(means >= 0))
    return Paired(float((b - a).mean()), float(low), float(high), float(min(1.0, 2 * (tail + 1) / (resamples + 1))))


def _means(values: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """(resamples,) means of queries drawn with replacement, in blocks."""
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _DRAWS_AT_ONCE // len(values))
    for start in range(0, resamples, step):
        chunk = means[start : start + step]
        chunk[:] = values[rng.integers(len(values), size=(len(chunk), len(values)))].mean(axis=1)
    return means
