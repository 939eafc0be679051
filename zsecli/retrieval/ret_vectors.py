"""[Ret] vectors of a feature store, checked, centred and at unit length."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.errors import StoreError
from zsecli.store.features import Features

Vectors = NDArray[np.float32]

ROWS_PER_STEP = 1024  # vectors whose lengths are computed together
ROWS_PER_READ = 4096  # vectors read together for a mean
MAX_LENGTH = 1e18  # float32 still holds the square of this
ABSOLUTE_NOISE = 2e-5  # length of what rounding leaves of grey values about their mean
RELATIVE_NOISE = 1e-6  # what rounding leaves when a mean is subtracted, as a share of the length before


def mean_ret(features: Features) -> Vectors:
    """(D,) mean of [Ret] over a store, read in pieces."""
    total = np.zeros(features.width)
    for start in range(0, len(features.items), ROWS_PER_READ):
        rows = slice(start, start + ROWS_PER_READ)
        total += _read_ret(features, rows).sum(0, dtype=np.float64)
    return (total / len(features.items)).astype(np.float32)


def read_unit_ret(features: Features, rows: slice | Ints, offset: Vectors) -> Vectors:
    """[Ret] (N, D) of `rows`, minus the vector `offset` (D,), at length 1; zeros stay zeros, whose cosine is 0.

    Where no more than rounding noise is left of a vector, as of a blank picture's pixels about their mean, it becomes
    zero too: its direction would be chance, and two such vectors would be wholly alike or opposite.

    Raises:
        StoreError: a [Ret] is not finite, or too large to have a length; the picture is named.
    """
    rows = np.arange(len(features.items))[rows]
    vectors = np.empty((len(rows), features.width), np.float32)
    relative_noise = RELATIVE_NOISE if offset.any() else 0
    for start in range(0, len(rows), ROWS_PER_STEP):  # so that a gallery is in memory once, with little beside it
        step = slice(start, start + ROWS_PER_STEP)
        centred = vectors[step]
        original = _read_ret(features, rows[step])
        np.subtract(original, offset, out=centred)
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        original_lengths = np.linalg.norm(original, axis=1, keepdims=True)
        is_noise = lengths <= np.maximum(ABSOLUTE_NOISE, relative_noise * original_lengths)
        centred /= np.where(is_noise, 1, lengths)
        centred[is_noise[:, 0]] = 0
    return vectors


def _read_ret(features: Features, rows: slice | Ints) -> Vectors:
    """[Ret] (N, D) as stored; StoreError where one is damaged."""
    vectors = features.read("ret", rows)
    with np.errstate(over="ignore", invalid="ignore"):
        is_damaged = ~(np.linalg.norm(vectors, axis=1) < MAX_LENGTH)
    if is_damaged.any():
        row = np.arange(len(features.items))[rows][is_damaged.argmax()]
        raise StoreError(
            f"{features.path}: the [Ret] of {features.items.id[row]} is not a number, or too large",
            "delete it and embed again",
        )
    return vectors
