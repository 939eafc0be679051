"""The one rule by which scores become ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def order_by_score(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Gallery indices by descending score, int64 (Q, G), of scores (Q, G), compared in float32.

    Ties (0.0 and -0.0 too) go to the lower gallery index.

    Raises:
        ValueError: a score is NaN.

    >>> order_by_score(np.array([[0.5, 0.9, 0.5]], dtype=np.float32))
    array([[1, 0, 2]])
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    ranking = np.empty(scores.shape, np.int64)
    for row, ranked_row in zip(scores, ranking, strict=True):
        bits = np.subtract(0, row, dtype=np.float32).view(np.int32)  # 0 - 0.0 and 0 - -0.0 are both 0.0
        bits ^= (bits >> 31) & 0x7FFFFFFF  # integers in the order of the floats that they were
        # only integers of 16 bits are sorted in linear time; stable sorts by low and then by high half sort by both
        low = np.argsort(bits.astype(np.uint16), kind="stable")
        high = np.argsort((bits >> 16).astype(np.int16).take(low), kind="stable")
        low.take(high, out=ranked_row, mode="clip")  # any other mode would fill a buffer first
    return ranking


def count_tied(scores: NDArray[np.float32]) -> int:
    """Number of entries whose score equals a neighbour's, of scores (Q, K) in ranking order, padded with NaN.

    >>> count_tied(np.array([[0.9, 0.5, 0.5, 0.5, 0.1, np.nan, np.nan]], dtype=np.float32))
    3
    """
    equal = scores[:, 1:] == scores[:, :-1]
    first, last = equal[:, :1], equal[:, -1:]
    inner = equal[:, 1:] | equal[:, :-1]  # all entries but the first and the last
    return sum(int(np.count_nonzero(entries)) for entries in (first, inner, last))
