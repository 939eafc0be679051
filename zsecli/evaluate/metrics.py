"""Retrieval metrics under full names, as pure functions of the ranks of the relevant photos.

Every metric takes Q queries as `RelevantRanks` and, for an @k metric, the cut-off `k` >= 1; it returns float64 (Q,).
R is the number of relevant photos in a query's gallery; rel_i and prec_i are relevance (0 or 1) and precision at
rank i.
A ranking that is truncated to K entries leaves @k metrics with k <= K exact.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Floats64
from zsecli.vocabulary import METRICS, MetricEntry

Ranks = Sequence[int] | NDArray[np.integer[Any]]


class RelevantRanks:
    """Ranks of the relevant photos of Q queries.

    Args:
        ranks: for each query, integer (H,), the 1-based positions of its relevant photos, strictly ascending.
        n_relevant: integer (Q,), each R; R == H in a complete ranking, R >= H in a truncated one.

    Raises:
        ValueError: a query has no relevant photo, so no metric is defined: the caller leaves it out and counts it.
    """

    def __init__(self, ranks: Sequence[Ranks], n_relevant: Ranks) -> None:
        self.n_relevant = np.asarray(n_relevant)
        n_ranks = np.array([len(row) for row in ranks])
        for bad in np.flatnonzero(self.n_relevant < np.maximum(n_ranks, 1)):
            needed = max(1, n_ranks[bad])
            raise ValueError(f"{self.n_relevant[bad]} relevant photos, {n_ranks[bad]} ranks: need at least {needed}")
        # as wide for a truncated ranking as for a complete one: the width decides how sums are rounded
        self.ranks = np.full((len(ranks), self.n_relevant.max()), np.inf)
        for padded, row in zip(self.ranks, ranks, strict=True):
            padded[: len(row)] = row
        self._precisions: dict[int | None, Floats64] = {}

    def precisions(self, k: int | None = None) -> Floats64:
        """Precision at each relevant photo within the first k, float64 (Q, W), j / rank of the j-th; 0 behind them."""
        if k not in self._precisions:  # several metrics use them
            ranks = self.ranks[:, :k]  # no more than k ranks are <= k, as they ascend
            precisions = np.arange(1, ranks.shape[1] + 1) / ranks
            if k is not None:
                precisions = precisions * (ranks <= k)
            self._precisions[k] = precisions
        return self._precisions[k]

    def count_hits(self, k: int) -> NDArray[np.int64]:
        """Relevant photos within the first k, (Q,)."""
        return (self.ranks[:, :k] <= k).sum(1)

    def interpolated_precisions(self, k: int | None = None) -> Floats64:
        """Highest precision at this or a later relevant photo within the first k, float64 (Q, W), last photo first."""
        return np.maximum.accumulate(self.precisions(k)[:, ::-1], axis=1)


def average_precision(relevant: RelevantRanks) -> Floats64:
    """AP (raw) = sum_i rel_i prec_i / R; trec_eval `map`, scikit-learn.

    >>> average_precision(RelevantRanks([[2, 3]], [2]))  # (1/2 + 2/3) / 2
    array([0.58333333])
    """
    return relevant.precisions().sum(1) / relevant.n_relevant


def average_precision_voc(relevant: RelevantRanks) -> Floats64:
    """AP (voc) = sum_i rel_i max_{j >= i} prec_j / R, all-point interpolated; ZSE-SBIR and SAKE's mAP@all.

    >>> average_precision_voc(RelevantRanks([[2, 3]], [2]))  # (2/3 + 2/3) / 2
    array([0.66666667])
    """
    return relevant.interpolated_precisions().sum(1) / relevant.n_relevant


def average_precision_at_voc(relevant: RelevantRanks, k: int) -> Floats64:
    """AP@k (voc, strict) = sum_{i <= k} rel_i max_{i <= j <= k} prec_j / min(k, R); ZSE-SBIR's mAP@200.

    >>> average_precision_at_voc(RelevantRanks([[2, 3, 9]], [3]), k=2)  # the photo at rank 3 lifts nothing
    array([0.25])
    """
    return relevant.interpolated_precisions(k).sum(1) / np.minimum(k, relevant.n_relevant)


def average_precision_at(relevant: RelevantRanks, k: int) -> Floats64:
    """AP@k (strict) = sum_{i <= k} rel_i prec_i / min(k, R); most careful work. Never above P@k where R >= k.

    >>> average_precision_at(RelevantRanks([[1, 9, 12]], [3]), k=2)
    array([0.5])
    """
    return relevant.precisions(k).sum(1) / np.minimum(k, relevant.n_relevant)


def average_precision_at_lenient(relevant: RelevantRanks, k: int) -> Floats64:
    """AP@k (lenient) = sum_{i <= k} rel_i prec_i / hits in the first k, 0 if none; SEM-PCYC, torchmetrics.

    >>> average_precision_at_lenient(RelevantRanks([[1, 9, 12]], [3]), k=2)  # relevant photos missed cost nothing
    array([1.])
    """
    return relevant.precisions(k).sum(1) / np.maximum(1, relevant.count_hits(k))


def average_precision_at_trec(relevant: RelevantRanks, k: int) -> Floats64:
    """AP@k (trec) = sum_{i <= k} rel_i prec_i / R; trec_eval `map_cut`. At most k / R where R > k.

    >>> average_precision_at_trec(RelevantRanks([[1, 2, 3, 4]], [4]), k=2)
    array([0.5])
    """
    return relevant.precisions(k).sum(1) / relevant.n_relevant


def precision_at(relevant: RelevantRanks, k: int) -> Floats64:
    """P@k = hits in the first k / k, also where the gallery holds fewer; trec_eval `P`, most papers.

    >>> precision_at(RelevantRanks([[1, 2]], [2]), k=4)
    array([0.5])
    """
    return relevant.count_hits(k) / k


def precision_at_capped(relevant: RelevantRanks, k: int) -> Floats64:
    """P@k (capped) = P@min(k, R); ZSE-SBIR's P@100 and P@200.

    >>> precision_at_capped(RelevantRanks([[1, 2]], [2]), k=4)
    array([1.])
    """
    cut = np.minimum(k, relevant.n_relevant)
    return (relevant.ranks[:, :k] <= cut[:, None]).sum(1) / cut


def accuracy_at(relevant: RelevantRanks, k: int) -> Floats64:
    """Acc@k = 1 if a relevant photo is in the first k, else 0; fine-grained retrieval, trec_eval `success`.

    >>> accuracy_at(RelevantRanks([[3]], [1]), k=1), accuracy_at(RelevantRanks([[3]], [1]), k=5)
    (array([0.]), array([1.]))
    """
    return np.minimum(1.0, relevant.count_hits(k))


def reciprocal_rank(relevant: RelevantRanks) -> Floats64:
    """Reciprocal rank = 1 / rank of the first relevant photo, 0 without one; trec_eval `recip_rank`.

    >>> reciprocal_rank(RelevantRanks([[4, 6]], [2]))
    array([0.25])
    """
    return relevant.precisions()[:, 0]  # the precision there is 1 / rank


def _parse_name(name: str) -> tuple[MetricEntry, int | None]:
    """Entry and cut k (None: no cut) of a full metric name."""
    cut = re.search(r"@([1-9][0-9]*)", name)
    template = name.replace(cut[0], "@K", 1) if cut else name
    if template not in METRICS or "@K" in name:
        raise ValueError(f"no metric {name!r}; the names are {', '.join(METRICS)}, with a number for K")
    return METRICS[template], int(cut[1]) if cut else None


def metric_function(name: str) -> Callable[[RelevantRanks], Floats64]:
    """The function RelevantRanks -> float64 (Q,) of a full name.

    >>> metric_function("P@100 (capped)")(RelevantRanks([[1, 4], [1]], [2, 1]))
    array([0.5, 1. ])
    """
    entry, k = _parse_name(name)
    function: Callable[..., Floats64] = entry.load()
    return function if k is None else partial(function, k=k)


def single_query_metric(name: str) -> Callable[[Ranks, int], float]:
    """The function of one query: ranks (H,), n_relevant -> float.

    >>> single_query_metric("P@100 (capped)")(np.array([1, 4]), 2)
    0.5
    """
    compute = metric_function(name)
    return lambda ranks, n_relevant: float(compute(RelevantRanks([ranks], [n_relevant]))[0])


def required_depth(name: str) -> int | None:
    """Entries of the ranking that a metric needs to be exact; None: all of them.

    >>> required_depth("AP@200 (strict)"), required_depth("AP (raw)")
    (200, None)
    """
    return _parse_name(name)[1]


def mean_name(name: str) -> str:
    """Name of the mean of a metric over queries.

    >>> mean_name("AP@200 (strict)"), mean_name("reciprocal rank"), mean_name("P@100")
    ('mAP@200 (strict)', 'mean reciprocal rank', 'P@100')
    """
    entry, _ = _parse_name(name)
    return entry.mean.format(name)
