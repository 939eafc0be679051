"""How often intervals hold the true mean, and how often the test is wrong: simulate both, and print the tables of
docs/intervals.md.

    python benchmarks/intervals.py [REPEATS]

Beside them stands the percentile bootstrap over queries, which takes queries for independent.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.tables import block, print_header, print_row
from zsecli.evaluate.intervals import confidence_interval, sign_flip_p

Values = NDArray[np.float64]
Rng = np.random.Generator
CORRELATIONS = (0.0, 0.1, 0.3, 0.6)
CLUSTERS = (2, 4, 6, 10, 25, 100)
EACH = 20  # queries of a cluster, on average
SPREAD = 2.0  # of AP-like values within a cluster: the sum of the parameters of their Beta distribution
RESAMPLES = 200  # of the bootstrap, which is tried in a fifth of the repeats
BETTER = 0.1  # what the other model is better by, where power is measured


@dataclass(frozen=True)
class Metric:
    """How values are drawn. hits: 0 or 1, as Acc@k; else Beta-distributed, as average precision."""

    title: str
    mean: float
    hits: bool


METRICS = (
    Metric("hits (Acc@k), mean .50", 0.5, True),
    Metric("hits (Acc@k), mean .97", 0.97, True),
    Metric("AP-like, mean .40", 0.4, False),
    Metric("AP-like, mean .97", 0.97, False),
)


def draw_sizes(clusters: int, equal: bool, rng: Rng) -> NDArray[np.int64]:
    """(C,) number of queries of each cluster: EACH, or log-normal about it: some are ten times as large as others."""
    if equal:
        return np.full(clusters, EACH)
    sizes = rng.lognormal(0, 0.8, clusters)
    return np.maximum(1, np.rint(EACH * sizes / sizes.mean())).astype(np.int64)


def draw_values(metric: Metric, clusters: NDArray[np.int64], correlation: float, rng: Rng) -> Values:
    """(Q,) values in 0 to 1 with this mean, and exactly this correlation between values of one cluster."""
    count = int(clusters.max()) + 1
    means = np.full(count, metric.mean)
    if correlation > 0:
        # of hits the correlation is 1 / (k + 1) if means are Beta(mean k, (1 - mean) k); others vary around theirs
        k = (1 / correlation - 1) * (1 if metric.hits else SPREAD + 1)
        means = rng.beta(metric.mean * k, (1 - metric.mean) * k, count)
    of_each = means[clusters]
    if metric.hits:
        return (rng.random(len(clusters)) < of_each).astype(np.float64)
    return rng.beta(np.maximum(of_each * SPREAD, 1e-9), np.maximum((1 - of_each) * SPREAD, 1e-9))


def bootstrap_means(values: Values, rng: Rng) -> Values:
    """(RESAMPLES,) means of queries drawn with replacement: what queries would say, were they independent."""
    return values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)


def cover(
    metric: Metric, count: int, equal: bool | None, correlation: float, repeats: int, rng: Rng
) -> tuple[float, ...]:
    """Coverage and mean width of the interval, coverage of the bootstrap over queries; equal: None: one each."""
    covered, widths, covered_before = [], [], []
    for repeat in range(repeats):
        sizes = np.ones(count, np.int64) if equal is None else draw_sizes(count, equal, rng)
        clusters = np.repeat(np.arange(count), sizes)
        values = draw_values(metric, clusters, correlation, rng)
        interval = confidence_interval(values, clusters)
        assert interval is not None
        covered.append(interval.low <= metric.mean <= interval.high)
        widths.append(interval.high - interval.low)
        if repeat % 5 == 0:
            low, high = np.quantile(bootstrap_means(values, rng), [0.025, 0.975])
            covered_before.append(low <= metric.mean <= high)
    return float(np.mean(covered)), float(np.mean(widths)), float(np.mean(covered_before))


def reject(
    metric: Metric, count: int, equal: bool, correlation: float, better: float, repeats: int, rng: Rng
) -> tuple[float, float]:
    """How often p < .05 of two models whose true means differ by `better`: by sign flips, by bootstrap over queries."""
    rejected, rejected_before = [], []
    other = Metric(metric.title, metric.mean + better, metric.hits)
    for repeat in range(repeats):
        clusters = np.repeat(np.arange(count), draw_sizes(count, equal, rng))
        differences = draw_values(other, clusters, correlation, rng) - draw_values(metric, clusters, correlation, rng)
        rejected.append(sign_flip_p(differences, clusters, seed=repeat) < 0.05)
        if repeat % 5 == 0:
            means = bootstrap_means(differences, rng)
            rejected_before.append(2 * min(np.mean(means <= 0), np.mean(means >= 0)) < 0.05)
    return float(np.mean(rejected)), float(np.mean(rejected_before))


def short(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def print_coverage(metric: Metric, repeats: int, rng: Rng) -> None:
    print(f"\n**{metric.title}**\n")
    print_header("clusters", "sizes", *(f"correlation {c:g}" for c in CORRELATIONS))
    for count in CLUSTERS:
        for equal in (True, False):
            cells = []
            for correlation in CORRELATIONS:
                covered, width, before = cover(metric, count, equal, correlation, repeats, rng)
                cells.append(f"{short(covered)} ({short(width)}); {short(before)}")
            print_row(count, "equal" if equal else "unequal", *cells)


def print_single_queries(repeats: int, rng: Rng) -> None:
    print("\n**Every query a cluster of its own, hits**\n")
    print_header("queries", "mean", "coverage (width); bootstrap over queries")
    for count in (6, 20, 100):
        for mean in (0.5, 0.9, 0.97):
            covered, width, before = cover(Metric("", mean, True), count, None, 0.0, repeats, rng)
            print_row(count, f"{mean:.2f}", f"{short(covered)} ({short(width)}); {short(before)}")


def print_level(better: float, metrics: tuple[Metric, ...], repeats: int, rng: Rng) -> None:
    print_header("values", "clusters", "sizes", *(f"correlation {c:g}" for c in CORRELATIONS))
    for metric in metrics:
        for count in (4, 6, 10, 25, 100):
            for equal in (True, False):
                cells = []
                for correlation in CORRELATIONS:
                    rejected, before = reject(metric, count, equal, correlation, better, repeats, rng)
                    cells.append(f"{short(rejected)}; {short(before)}")
                print_row(metric.title, count, "equal" if equal else "unequal", *cells)


def main(repeats: int) -> None:
    rng = np.random.default_rng(0)
    error = (0.95 * 0.05 / repeats) ** 0.5
    with block("coverage"):
        print(f"{repeats} repeats a cell: a coverage of .95 is known to about {error:.3f}.")
        for metric in METRICS:
            print_coverage(metric, repeats, rng)
        print_single_queries(repeats, rng)
    with block("level"):
        print_level(0.0, METRICS, repeats, rng)
    with block("power"):
        print_level(BETTER, (METRICS[2],), repeats, rng)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["400"]))
