"""Retrieval metrics of one query, under full names, as pure functions of the ranks of its relevant photos.

Every metric takes `ranks`, integer (H,): the 1-based positions of the relevant photos, strictly ascending;
`n_relevant`, R: the relevant photos in the gallery; and, for an @k metric, the cut `k` >= 1. H == R in a
complete ranking; truncated to K entries, H <= R, and @k metrics with k <= K stay exact. prec_i and rel_i are
precision and relevance (0 or 1) at rank i. A query without a relevant photo has no metric (ValueError): the
caller leaves it out and counts it.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranks = NDArray[np.integer[Any]]
Metric = Callable[[Ranks, int], float]


def _precisions(ranks: Ranks, n_relevant: int, k: int | None = None) -> NDArray[np.float64]:
    """Precision at each relevant photo within the first k, float64 (hits,): j / rank of the j-th."""
    if not max(1, len(ranks)) <= n_relevant:
        raise ValueError(f"{n_relevant} relevant photos for {len(ranks)} ranks: need one each, at least 1")
    ranks = ranks if k is None else ranks[ranks <= k]
    return np.arange(1, len(ranks) + 1) / ranks


def _interpolated(precisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Highest precision at this or any later relevant photo, float64 (hits,), last photo first."""
    return np.maximum.accumulate(precisions[::-1])


def average_precision(ranks: Ranks, n_relevant: int) -> float:
    """AP (raw) = sum_i rel_i prec_i / R; trec_eval `map`, scikit-learn.

    >>> average_precision(np.array([2, 3]), 2)  # (1/2 + 2/3) / 2
    0.5833333333333333
    """
    return float(_precisions(ranks, n_relevant).sum() / n_relevant)


def average_precision_voc(ranks: Ranks, n_relevant: int) -> float:
    """AP (voc) = sum_i rel_i max_{j >= i} prec_j / R, all-point interpolated; ZSE-SBIR and SAKE's mAP@all.

    >>> average_precision_voc(np.array([2, 3]), 2)  # (2/3 + 2/3) / 2
    0.6666666666666666
    """
    return float(_interpolated(_precisions(ranks, n_relevant)).sum() / n_relevant)


def average_precision_at_voc(ranks: Ranks, n_relevant: int, k: int) -> float:
    """AP@k (voc, strict) = sum_{i <= k} rel_i max_{i <= j <= k} prec_j / min(k, R); ZSE-SBIR's mAP@200.

    >>> average_precision_at_voc(np.array([2, 3, 9]), 3, k=2)  # the photo at rank 3 lifts nothing
    0.25
    """
    return float(_interpolated(_precisions(ranks, n_relevant, k)).sum() / min(k, n_relevant))


def average_precision_at(ranks: Ranks, n_relevant: int, k: int) -> float:
    """AP@k (strict) = sum_{i <= k} rel_i prec_i / min(k, R); most careful work. Never above P@k where R >= k.

    >>> average_precision_at(np.array([1, 9, 12]), 3, k=2)
    0.5
    """
    return float(_precisions(ranks, n_relevant, k).sum() / min(k, n_relevant))


def average_precision_at_lenient(ranks: Ranks, n_relevant: int, k: int) -> float:
    """AP@k (lenient) = sum_{i <= k} rel_i prec_i / hits in the first k, 0 if none; SEM-PCYC, torchmetrics.

    >>> average_precision_at_lenient(np.array([1, 9, 12]), 3, k=2)  # relevant photos missed cost nothing
    1.0
    """
    precisions = _precisions(ranks, n_relevant, k)
    return float(precisions.sum() / max(1, len(precisions)))


def average_precision_at_trec(ranks: Ranks, n_relevant: int, k: int) -> float:
    """AP@k (trec) = sum_{i <= k} rel_i prec_i / R; trec_eval `map_cut`. At most k / R where R > k.

    >>> average_precision_at_trec(np.array([1, 2, 3, 4]), 4, k=2)
    0.5
    """
    return float(_precisions(ranks, n_relevant, k).sum() / n_relevant)


def precision_at(ranks: Ranks, n_relevant: int, k: int) -> float:
    """P@k = hits in the first k / k, also where the gallery holds fewer; trec_eval `P`, most papers.

    >>> precision_at(np.array([1, 2]), 2, k=4)
    0.5
    """
    return len(_precisions(ranks, n_relevant, k)) / k


def precision_at_capped(ranks: Ranks, n_relevant: int, k: int) -> float:
    """P@k (capped) = P@min(k, R); ZSE-SBIR's P@100 and P@200.

    >>> precision_at_capped(np.array([1, 2]), 2, k=4)
    1.0
    """
    return precision_at(ranks, n_relevant, min(k, n_relevant))


def accuracy_at(ranks: Ranks, n_relevant: int, k: int) -> float:
    """Acc@k = 1 if a relevant photo is in the first k, else 0; fine-grained retrieval, trec_eval `success`.

    >>> accuracy_at(np.array([3]), 1, k=1), accuracy_at(np.array([3]), 1, k=5)
    (0.0, 1.0)
    """
    return float(len(_precisions(ranks, n_relevant, k)) > 0)


def reciprocal_rank(ranks: Ranks, n_relevant: int) -> float:
    """Reciprocal rank = 1 / rank of the first relevant photo, 0 without one; trec_eval `recip_rank`.

    >>> reciprocal_rank(np.array([4, 6]), 2)
    0.25
    """
    return float(_precisions(ranks, n_relevant)[:1].sum())  # the precision there is 1 / rank


_METRICS: dict[str, Callable[..., float]] = {
    "AP (raw)": average_precision,
    "AP (voc)": average_precision_voc,
    "AP@K (voc, strict)": average_precision_at_voc,
    "AP@K (strict)": average_precision_at,
    "AP@K (lenient)": average_precision_at_lenient,
    "AP@K (trec)": average_precision_at_trec,
    "P@K": precision_at,
    "P@K (capped)": precision_at_capped,
    "Acc@K": accuracy_at,
    "reciprocal rank": reciprocal_rank,
}


def _parse(name: str) -> tuple[Callable[..., float], int | None]:
    """Function and cut k (None: no cut) of a full metric name."""
    cut = re.search(r"@([1-9][0-9]*)", name)
    template = name.replace(cut[0], "@K", 1) if cut else name
    if template not in _METRICS or "@K" in name:
        raise ValueError(f"no metric {name!r}; the names are {', '.join(_METRICS)}, with a number for K")
    return _METRICS[template], int(cut[1]) if cut else None


def metric(name: str) -> Metric:
    """The function (ranks, n_relevant) -> float of a full name.

    >>> metric("P@100 (capped)")(np.array([1, 4]), 2)
    0.5
    """
    function, k = _parse(name)
    return function if k is None else partial(function, k=k)


def needs_depth(name: str) -> int | None:
    """How many entries of the ranking a metric needs to be exact; None: all of them.

    >>> needs_depth("AP@200 (strict)"), needs_depth("AP (raw)")
    (200, None)
    """
    return _parse(name)[1]


def mean_name(name: str) -> str:
    """Name of the mean of a metric over queries.

    >>> mean_name("AP@200 (strict)"), mean_name("reciprocal rank"), mean_name("P@100")
    ('mAP@200 (strict)', 'mean reciprocal rank', 'P@100')
    """
    _parse(name)
    return f"m{name}" if name.startswith("AP") else f"mean {name}" if name == "reciprocal rank" else name
