"""Confidence interval of a mean over queries."""

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
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    step = max(1, _DRAWS_AT_ONCE // len(values))
    for start in range(0, resamples, step):
        chunk = means[start : start + step]
        chunk[:] = values[rng.integers(len(values), size=(len(chunk), len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
