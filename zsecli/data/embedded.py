"""Features of pictures in memory: what models return and feature stores hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from zsecli.arrays import Array, Floats, Ints


@dataclass(frozen=True)
class Embedded:
    """Features of B pictures."""

    ret: Floats  # (B, D) float32, the [Ret] vectors
    tokens: Floats | None = None  # (B, 1 + T, D), [Ret] and the patches, where the model has them
    index: Ints | None = None  # (B, T) grid cells of the patches, where selection drops some

    def take(self, rows: Ints) -> Embedded:
        """The features of `rows`, in that order."""
        tokens = None if self.tokens is None else self.tokens[rows]
        index = None if self.index is None else self.index[rows]
        return Embedded(self.ret[rows], tokens, index)

    @staticmethod
    def concatenate(batches: Sequence[Embedded]) -> Embedded:
        """The pictures of all batches, in order."""
        return Embedded(
            np.concatenate([batch.ret for batch in batches]),
            _concatenate([batch.tokens for batch in batches]),
            _concatenate([batch.index for batch in batches]),
        )


def _concatenate(arrays: Sequence[Array | None]) -> Array | None:
    """All arrays as one; None where a model has none of them."""
    present = [array for array in arrays if array is not None]
    return np.concatenate(present) if present else None
