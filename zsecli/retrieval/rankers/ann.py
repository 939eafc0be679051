"""An approximate shortlist by [Ret], for galleries beyond memory. It needs the extra `ann`: faiss."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Floats32, Ints
from zsecli.errors import UsageError
from zsecli.retrieval.copies import hash_vectors, index_of_first_equal
from zsecli.retrieval.eligibility import EligiblePairs
from zsecli.retrieval.rankers.base import search_in_steps, sort_scores
from zsecli.retrieval.ret_vectors import read_unit_ret
from zsecli.store.features import Features

logger = logging.getLogger(__name__)

READ = 65536  # photos in memory at once
PROBES = 64  # lists of the index that are searched for a query
MIN_TRAINING_VECTORS = 39  # per list; faiss warns of fewer
MAX_TRAINING_VECTORS = 64  # per list
OVERFETCH = 4  # candidates from quantised vectors per photo of the shortlist; they are re-ranked with exact ones
SAMPLE = 100  # queries whose recall is measured
MIXED = -2  # instead of a code, where photos that share a vector have several
VALUES = 2**26  # numbers of exact vectors in memory at once


@dataclass(frozen=True, kw_only=True)
class DistinctVectors:
    """The U distinct [Ret] of a gallery of G photos, and the photos that share each of them.

    Photos with the same [Ret] are one vector of the index: many copies would fill a list that a query may miss, and
    k-means cannot separate them.
    """

    first: Ints
    """(U,) first photo with each vector."""
    photos: Ints
    """(G,) photos with the first vector, then those with the second, and so on; ascending within each."""
    starts: Ints
    """(U + 1,) where the photos of each vector begin in `photos`."""
    codes: Ints
    """(U,) code by which pairs are left out, -1 for none, MIXED where photos with this vector have several."""

    @classmethod
    def find(cls, gallery: Features, offset: Floats32, photo_codes: Ints) -> DistinctVectors:
        """From the centred [Ret] of a gallery, read in blocks, and the codes (G,) of `EligiblePairs`."""
        fingerprints = hash_vectors(_iterate_unit_ret(gallery, offset))
        first, group, sizes = np.unique(index_of_first_equal(fingerprints), return_inverse=True, return_counts=True)
        photos = np.argsort(group, kind="stable")
        starts = np.append(0, np.cumsum(sizes))
        codes = photo_codes[photos]
        lowest = np.minimum.reduceat(codes, starts[:-1])
        highest = np.maximum.reduceat(codes, starts[:-1])
        return cls(first=first, photos=photos, starts=starts, codes=np.where(lowest == highest, lowest, MIXED))

    def __len__(self) -> int:
        return len(self.first)

    def photos_of(self, vector: int) -> Ints:
        """Photos with this vector, ascending."""
        return self.photos[self.starts[vector] : self.starts[vector + 1]]


def _iterate_unit_ret(features: Features, offset: Floats32) -> Iterator[Floats32]:
    for start in range(0, len(features.items), READ):
        yield from read_unit_ret(features, slice(start, start + READ), offset)


def _import_faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise UsageError("approximate search needs faiss", "pip install faiss-cpu, or search exactly") from error
    return faiss


class ApproximateSearch:
    """Finds the photos for a query with an inverted file of 8-bit vectors (faiss: IVF, SQ8), and orders them exactly.

    A photo takes D bytes, a quarter of what exact search holds. A ranking is as deep as the shortlist. Where the index
    finds fewer photos for a query than its shortlist has, that query is searched exactly.
    """

    is_thread_safe = False  # faiss has threads of its own

    def __init__(
        self,
        queries: Features,
        gallery: Features,
        offsets: tuple[Floats32, Floats32],
        eligible: EligiblePairs,
        shortlist: int,
    ) -> None:
        faiss = _import_faiss()
        self.queries = queries
        self.gallery = gallery
        self.query_offset, self.photo_offset = offsets
        self.eligible = eligible
        self.shortlist = min(shortlist, len(gallery.items))
        self.distinct = DistinctVectors.find(gallery, self.photo_offset, eligible.photo_codes)
        self.candidates = min(OVERFETCH * self.shortlist, len(self.distinct))
        """Vectors per query whose exact cosines are computed."""
        self.queries_per_step = max(1, VALUES // (self.candidates * gallery.width))
        self._index = self._build_index(faiss)
        self.searched_exactly = 0
        """Queries so far for which the index found too few photos."""
        recall = self._measure_recall()
        self.searched_exactly = 0
        self.provenance: dict[str, Any] = {"recall": recall}
        logger.info(f"the approximate shortlist holds {recall:.1%} of the exact one")

    def search(self, block: slice) -> tuple[Ints, Floats32]:
        """As `zsecli.retrieval.rankers.base.Search.search`, K being the length of the shortlist."""
        return search_in_steps(self._search_block, block, self.queries_per_step)

    def notes(self) -> list[str]:
        if not self.searched_exactly:
            return []
        return [
            f"the approximate index found fewer photos than the shortlist has for {self.searched_exactly} sketches, "
            "so these were searched exactly"
        ]

    def _build_index(self, faiss: Any) -> Any:
        count = len(self.distinct)
        lists = min(int(4 * count**0.5), count // MIN_TRAINING_VECTORS)
        index_type = f"IVF{lists},SQ8" if lists > 1 else "SQ8"
        index: Any = faiss.index_factory(self.gallery.width, index_type, faiss.METRIC_INNER_PRODUCT)
        n_training = min(count, MAX_TRAINING_VECTORS * max(1, lists))
        training = np.linspace(0, count - 1, n_training).astype(np.int64)
        index.train(self._read_vectors(np.unique(training)))
        if lists > 1:
            index.nprobe = PROBES
        for _, vectors in self._iterate_vectors():
            index.add(vectors)
        return index

    def _read_vectors(self, rows: slice | Ints) -> Floats32:
        """The vectors `rows` of the U distinct ones."""
        return read_unit_ret(self.gallery, self.distinct.first[rows], self.photo_offset)

    def _iterate_vectors(self) -> Iterator[tuple[int, Floats32]]:
        """All U distinct vectors in blocks, each with the number of its first one."""
        for start in range(0, len(self.distinct), READ):
            yield start, self._read_vectors(slice(start, start + READ))

    def _read_queries(self, rows: slice | Ints) -> Floats32:
        return read_unit_ret(self.queries, rows, self.query_offset)

    def _search_block(self, block: slice) -> tuple[Ints, Floats32]:
        return self._search_rows(np.arange(self.eligible.n_queries)[block])

    def _search_rows(self, rows: Ints) -> tuple[Ints, Floats32]:
        """Photos (B, shortlist) int32 of the queries `rows`, and cosines."""
        queries = self._read_queries(rows)
        photos, scores = self._list_photos(rows, queries, self._find_candidates(queries, rows))
        n_found = (photos >= 0).sum(1)
        incomplete = np.flatnonzero(n_found < self._shortlist_lengths(rows))
        for start in range(0, len(incomplete), SAMPLE):
            batch = incomplete[start : start + SAMPLE]
            photos[batch], scores[batch] = self._search_exactly(rows[batch], queries[batch])
        self.searched_exactly += len(incomplete)
        return photos, scores

    def _shortlist_lengths(self, rows: Ints) -> Ints:
        """(B,) photos that the shortlist of each query has: fewer where not enough photos are eligible."""
        n_ignored = np.zeros(len(rows), np.int64)
        if not self.eligible.all_eligible:
            own_codes = self.eligible.query_codes[rows]
            photo_codes = self.eligible.photo_codes
            photos_by_code = np.bincount(photo_codes[photo_codes >= 0], minlength=max(1, own_codes.max(initial=0) + 1))
            n_ignored = np.where(own_codes >= 0, photos_by_code[np.maximum(own_codes, 0)], 0)
        return np.minimum(self.shortlist, self.eligible.n_photos - n_ignored)

    def _find_candidates(self, queries: Floats32, rows: Ints) -> Ints:
        """(B, candidates) vectors that the index finds, ascending, of eligible photos; -1 where there are fewer."""
        n_wanted = self.candidates
        while True:
            vectors = self._index.search(queries, n_wanted)[1]
            if self.eligible.all_eligible:
                break
            lists_hold_more = vectors[:, -1] >= 0
            vectors[~self._has_eligible_photo(rows, vectors)] = -1
            is_short = (vectors >= 0).sum(1) < self.shortlist
            if n_wanted == len(self.distinct) or not (lists_hold_more & is_short).any():
                break
            n_wanted = min(4 * n_wanted, len(self.distinct))
        order = np.argsort(vectors < 0, axis=1, kind="stable")[:, : self.candidates]
        return np.sort(np.take_along_axis(vectors, order, 1), axis=1)

    def _has_eligible_photo(self, rows: Ints, vectors: Ints) -> NDArray[np.bool_]:
        """(B, K) whether any photo with the vectors (B, K) is eligible for the queries `rows` (B,)."""
        return self.eligible.mask_codes(rows, self.distinct.codes[vectors])

    def _list_photos(self, rows: Ints, queries: Floats32, vectors: Ints) -> tuple[Ints, Floats32]:
        """Photos (B, shortlist) int32, best first, with the vectors (B, K), ascending, and their cosines."""
        distinct, position = np.unique(np.maximum(vectors, 0), return_inverse=True)
        candidates = self._read_vectors(distinct)[position.reshape(vectors.shape)]
        scores = np.einsum("qd,qkd->qk", queries, candidates)
        scores[vectors < 0] = np.nan
        best, scores = sort_scores(scores)
        vectors = np.where(best < 0, -1, np.take_along_axis(vectors, np.maximum(best, 0), 1))
        photos = np.full((len(rows), self.shortlist), -1, np.int32)
        cosines = np.full((len(rows), self.shortlist), np.nan, np.float32)
        if len(self.distinct) == self.eligible.n_photos:  # a vector is a photo
            width = min(self.shortlist, vectors.shape[1])
            photos[:, :width] = vectors[:, :width]
            cosines[:, :width] = scores[:, :width]
            return photos, cosines
        for query, row in enumerate(rows):
            listed, values = self._list_copies(row, vectors[query], scores[query])
            photos[query, : len(listed)] = listed
            cosines[query, : len(listed)] = values
        return photos, cosines

    def _list_copies(self, row: int, vectors: Ints, scores: Floats32) -> tuple[Ints, Floats32]:
        """All eligible photos with the vectors (K,), in the order of their scores (K,) and then of the gallery.

        At most as many as the shortlist has. -1 ends the vectors.
        """
        photos: list[Ints] = [np.empty(0, np.int64)]
        cosines = [np.empty(0, np.float32)]
        n_listed = 0
        for rank, vector in enumerate(vectors):
            is_full = n_listed >= self.shortlist and scores[rank] < scores[rank - 1]
            if vector < 0 or is_full:
                break
            copies = self.distinct.photos_of(vector)
            if not self.eligible.all_eligible:
                copies = copies[self.eligible.mask_listed(np.array([row]), copies[None])[0]]
            copies = copies[: self.shortlist]
            photos.append(copies)
            cosines.append(np.full(len(copies), scores[rank], np.float32))
            n_listed += len(copies)
        all_photos = np.concatenate(photos)
        all_cosines = np.concatenate(cosines)
        best = np.lexsort((all_photos, -all_cosines))[: self.shortlist]
        return all_photos[best], all_cosines[best]

    def _search_exactly(self, rows: Ints, queries: Floats32) -> tuple[Ints, Floats32]:
        """As `_list_photos`, of the best of all vectors."""
        best_scores = np.empty((len(rows), 0), np.float32)
        best_vectors = np.empty((len(rows), 0), np.int64)
        for start, block in self._iterate_vectors():
            vectors = np.tile(np.arange(start, start + len(block)), (len(rows), 1))
            scores = queries @ block.T
            if not self.eligible.all_eligible:
                scores[~self._has_eligible_photo(rows, vectors)] = -np.inf
            scores = np.hstack([best_scores, scores])
            vectors = np.hstack([best_vectors, vectors])
            best = np.argsort(-scores, axis=1, kind="stable")[:, : self.shortlist]
            best_scores = np.take_along_axis(scores, best, 1)
            best_vectors = np.take_along_axis(vectors, best, 1)
        eligible_vectors = np.where(best_scores > -np.inf, best_vectors, -1)
        return self._list_photos(rows, queries, np.sort(eligible_vectors, axis=1))

    def _measure_recall(self) -> float:
        """Share of the exact shortlist that is found, mean over at most SAMPLE queries."""
        rows = np.unique(np.linspace(0, self.eligible.n_queries - 1, SAMPLE).astype(np.int64))
        exact_photos, _ = self._search_exactly(rows, self._read_queries(rows))
        found_photos, _ = self._search_rows(rows)
        recalls = []
        for exact, found in zip(exact_photos, found_photos, strict=True):
            exact = exact[exact >= 0]
            if len(exact):
                recalls.append(np.isin(exact, found).mean())
        return float(np.mean(recalls)) if recalls else 1.0
