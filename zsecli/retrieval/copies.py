"""Photos that are in a gallery more than once, which must all get one score."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Floats32, Ints

Vectors = NDArray[np.float32]

DIGEST_BYTES = 16


class PhotoCopies:
    """Copies among the G photos of a gallery: the same file with the same [Ret].

    How the score of one and the same photo is rounded depends on its column. So copies take the score of the first.
    """

    def __init__(self, first: Ints) -> None:
        self.first = first
        """(G,) the first copy of each photo: itself, unless it is repeated."""
        self.repeated = np.flatnonzero(first != np.arange(len(first)))
        """Photos that are copies of an earlier one."""

    @classmethod
    def find(cls, vectors: Vectors, sha256: NDArray[np.uint8]) -> PhotoCopies:
        """From [Ret] (G, D) and the hashes (G, 32) of the files."""
        return cls(index_of_first_copy(vectors, sha256))

    @classmethod
    def none(cls, photos: int) -> PhotoCopies:
        """A gallery in which no photo is treated as a copy."""
        return cls(np.arange(photos))

    def share_scores(self, scores: Floats32) -> None:
        """Give copies the score of the first one, in place: (B, G), NaN where a pair does not count."""
        copy = scores[:, self.repeated]
        original = scores[:, self.first[self.repeated]]
        scores[:, self.repeated] = np.where(np.isnan(copy) | np.isnan(original), copy, original)

    def share_listed_scores(self, photos: Ints, scores: Floats32) -> None:
        """The same for some photos of each query: rows (B, K), ascending, -1 for none, with their scores (B, K)."""
        is_repeated = (photos >= 0) & np.isin(photos, self.repeated)
        for query, column in np.argwhere(is_repeated):
            original = self.first[photos[query, column]]
            original_column = np.searchsorted(photos[query], original)
            if photos[query, original_column] == original:
                scores[query, column] = scores[query, original_column]


def index_of_first_copy(vectors: Vectors, sha256: NDArray[np.uint8]) -> Ints:
    """(G,) for each photo the first one with its vector (G, D) and its file (G, 32): itself, unless repeated."""
    first = index_of_first_equal(sha256)
    repeated_files = first[first != np.arange(len(first))]
    suspects = np.flatnonzero(np.isin(first, repeated_files))  # only their vectors are compared
    fingerprints = np.hstack([sha256[suspects], hash_vectors(vectors[row] for row in suspects)])
    first[suspects] = suspects[index_of_first_equal(fingerprints)]
    return first


def hash_vectors(vectors: Iterable[Vectors]) -> NDArray[np.uint8]:
    """(N, 16) hashes of N vectors, equal where these are equal; they take less memory to compare."""
    digests = []
    for vector in vectors:
        positive_zeros = vector + np.float32(0)  # -0.0 has other bytes than 0.0
        digests.append(hashlib.blake2b(positive_zeros.tobytes(), digest_size=DIGEST_BYTES).digest())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)


def index_of_first_equal(rows: NDArray[np.uint8]) -> Ints:
    """(N,) for each row of bytes (N, B) the index of the first equal row.

    >>> index_of_first_equal(np.array([[7, 1], [7, 2], [7, 1]], np.uint8))
    array([0, 1, 0])
    """
    row_type = np.dtype((np.void, rows.shape[1]))
    whole_rows = np.ascontiguousarray(rows).view(row_type).ravel()
    _, first, group = np.unique(whole_rows, return_index=True, return_inverse=True)
    return first[group]
