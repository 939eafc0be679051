"""The one rule by which scores become ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def order(scores: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Gallery indices by descending score, int64 (Q, G), of scores (Q, G), compared in float32.

    Ties (0.0 and -0.0 too) go to the lower gallery index. NaN, which has no place in a ranking: ValueError.

    >>> order(np.array([[0.5, 0.9, 0.5]], dtype=np.float32))
    array([[1, 0, 2]])
    """
    if np.isnan(scores).any():
        raise ValueError("a score is NaN")
    # a stable sort of the negated scores keeps ties in gallery order; a reversed one would turn them round
    return np.argsort(np.negative(scores, dtype=np.float32), axis=-1, kind="stable")


def tied(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """Entries whose score equals a neighbour's, int64 (Q,), of scores (Q, K) in ranking order, NaN-padded.

    >>> tied(np.array([[0.9, 0.5, 0.5, 0.5, 0.1, np.nan, np.nan]], dtype=np.float32))
    array([3])
    """
    equal = np.pad(scores[:, 1:] == scores[:, :-1], ((0, 0), (1, 1)))
    counts: NDArray[np.int64] = np.sum(equal[:, 1:] | equal[:, :-1], axis=1, dtype=np.int64)
    return counts
