"""An approximate shortlist by [Ret], for galleries beyond memory. It needs the extra `ann`: faiss."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsecli.errors import UsageError
from zsecli.retrieval.rankers import Ranker, Scores, digests, first_copies, sort, unit
from zsecli.store.features import Features
from zsecli.store.items import Ints

logger = logging.getLogger(__name__)

READ = 65536  # photos in memory at once
PROBES = 64  # lists that are searched for a query
WIDER = 4  # times the shortlist are found by rounded vectors, and sorted by whole ones
SAMPLE = 100  # queries whose recall is measured
SEVERAL = -2  # instead of the group of photos that share a vector and are of several
VALUES = 2**26  # of whole vectors, in memory at once


class AnnRanker(Ranker):
    """Ranks for a query the photos that an inverted file of 8-bit vectors finds (faiss: IVF, SQ8), by exact cosine.

    A photo takes D bytes, a quarter of what exact search holds. A ranking is a shortlist deep. Photos with the same
    [Ret] are one vector of the index: many copies would fill a list that a query may miss, and k-means cannot part
    them. Where the index finds fewer photos for a query than its shortlist has, that query is searched exactly.

    Attributes:
        about: `recall`, the share of the true shortlist that is found, mean over at most SAMPLE queries.
        searched_exactly: queries ranked so far for which the index found too few photos.
    """

    def _open(self, gallery: Features, photo_mean: Scores) -> None:
        try:
            import faiss
        except ImportError as error:
            raise UsageError("--ann needs faiss", "pip install faiss-cpu, or leave it out") from error
        self.repeated = np.empty(0, np.int64)  # tokens of a cascade: copies by [Ret] alone are scored each
        self.gallery, self.photo_mean = gallery, photo_mean
        self._find_copies()
        count = len(self.distinct)
        self.cut = min(self.options.shortlist, len(gallery.items))
        self.found = min(WIDER * self.cut, count)
        self.step = max(1, VALUES // (self.found * gallery.width))
        lists = min(int(4 * count**0.5), count // 39)  # 39: fewer training vectors a list, and faiss warns
        kind = f"IVF{lists},SQ8" if lists > 1 else "SQ8"
        index: Any = faiss.index_factory(gallery.width, kind, faiss.METRIC_INNER_PRODUCT)
        self.index = index
        sample = np.linspace(0, count - 1, min(count, 64 * max(1, lists))).astype(np.int64)
        self.index.train(self._vectors(np.unique(sample)))
        if lists > 1:
            self.index.nprobe = PROBES
        for _, vectors in self._blocks():
            self.index.add(vectors)
        self.about = {"recall": self._recall()}
        self.searched_exactly = 0
        logger.info(f"the approximate shortlist holds {self.about['recall']:.1%} of the exact one")

    def _find_copies(self) -> None:
        """Which photos share a vector: U vectors of G photos.

        distinct: (U,) the first photo with each vector. copies: (G,) the photos of the first vector, of the second and
        so on, ascending. starts: (U + 1,) where the photos of each vector begin in `copies`.
        """
        count = len(self.gallery.items)
        blocks = (slice(start, start + READ) for start in range(0, count, READ))
        rows = (vector for block in blocks for vector in unit(self.gallery, block, self.photo_mean))
        self.distinct, group, sizes = np.unique(first_copies(digests(rows)), return_inverse=True, return_counts=True)
        self.copies = np.argsort(group, kind="stable")
        self.starts = np.append(0, np.cumsum(sizes))
        if self.groups is not None:
            codes = self.groups[1][self.copies]
            lowest, highest = (f.reduceat(codes, self.starts[:-1]) for f in (np.minimum, np.maximum))
            # a vector is left out for a query where all its photos are
            self.vector_groups = np.where(lowest == highest, lowest, SEVERAL)

    def _vectors(self, rows: slice | Ints) -> Scores:
        """The vectors `rows` of the U distinct ones."""
        return unit(self.gallery, self.distinct[rows], self.photo_mean)

    def _blocks(self) -> Iterator[tuple[int, Scores]]:
        for start in range(0, len(self.distinct), READ):
            yield start, self._vectors(slice(start, start + READ))

    def _by_ret(self, block: slice | Ints) -> tuple[Ints, Scores]:
        rows, queries = np.arange(len(self.queries.items))[block], self._queries(block)
        indices, scores = self._photos(rows, queries, self._candidates(queries, rows))
        few = np.flatnonzero((indices >= 0).sum(1) < self._due(rows))
        for start in range(0, len(few), SAMPLE):
            some = few[start : start + SAMPLE]
            indices[some], scores[some] = self._search_exactly(rows[some], queries[some])
        self.searched_exactly += len(few)
        return indices, scores

    def _due(self, rows: Ints) -> Ints:
        """(B,) how many photos the shortlist of each query has."""
        left_out = np.zeros(len(rows), np.int64)
        if self.groups is not None:
            own, codes = self.groups[0][rows], self.groups[1]
            of_group = np.bincount(codes[codes >= 0], minlength=max(1, own.max(initial=0) + 1))
            left_out = np.where(own >= 0, of_group[np.maximum(own, 0)], 0)
        return np.minimum(self.cut, self.photos - left_out)

    def _photos(self, rows: Ints, queries: Scores, columns: Ints) -> tuple[Ints, Scores]:
        """Gallery rows (B, cut) int32, best first, of vectors `columns` (B, K), ascending, with their cosines."""
        vectors, place = np.unique(np.maximum(columns, 0), return_inverse=True)
        scores = np.einsum("qd,qkd->qk", queries, self._vectors(vectors)[place.reshape(columns.shape)])
        scores[columns < 0] = np.nan
        at, scores = sort(scores)
        columns = np.where(at < 0, -1, np.take_along_axis(columns, np.maximum(at, 0), 1))
        indices = np.full((len(rows), self.cut), -1, np.int32)
        cosines = np.full((len(rows), self.cut), np.nan, np.float32)
        if len(self.distinct) == self.photos:
            width = min(self.cut, columns.shape[1])
            indices[:, :width], cosines[:, :width] = columns[:, :width], scores[:, :width]
            return indices, cosines
        for query, (row, vector, score) in enumerate(zip(rows, columns, scores, strict=True)):
            photos, values = self._with_copies(row, vector, score)
            indices[query, : len(photos)], cosines[query, : len(photos)] = photos, values
        return indices, cosines

    def _with_copies(self, row: int, vectors: Ints, scores: Scores) -> tuple[Ints, Scores]:
        """The photos of vectors (K,), in the order of their scores and then of the gallery, at most `cut`."""
        photos, values, listed = [np.empty(0, np.int64)], [np.empty(0, np.float32)], 0
        for i, vector in enumerate(vectors):
            if vector < 0 or (listed >= self.cut and scores[i] < scores[i - 1]):
                break
            copies = self.copies[self.starts[vector] : self.starts[vector + 1]]
            if self.groups is not None:
                copies = copies[self._counts(np.array([row]), copies[None])[0]]
            photos.append(copies[: self.cut])
            values.append(np.full(len(photos[-1]), scores[i], np.float32))
            listed += len(photos[-1])
        every, cosines = np.concatenate(photos), np.concatenate(values)
        best = np.lexsort((every, -cosines))[: self.cut]
        return every[best], cosines[best]

    def _candidates(self, queries: Scores, rows: Ints) -> Ints:
        """Vectors (B, `found`), ascending, that the index finds, of photos that count; -1 where there are fewer."""
        asked = self.found
        while True:
            columns = self.index.search(queries, asked)[1]
            if self.groups is not None:
                more = columns[:, -1] >= 0  # the lists that are searched hold more
                columns[~self._vector_counts(rows, columns)] = -1
                if asked < len(self.distinct) and (more & ((columns >= 0).sum(1) < self.cut)).any():
                    asked = min(4 * asked, len(self.distinct))
                    continue
            best = np.argsort(columns < 0, axis=1, kind="stable")[:, : self.found]
            return np.sort(np.take_along_axis(columns, best, 1), axis=1)

    def _vector_counts(self, rows: Ints, columns: Ints) -> NDArray[np.bool_]:
        """(B, K) whether any photo of vectors `columns` (B, K) counts for the queries `rows`."""
        assert self.groups is not None
        own = self.groups[0][rows][:, None]
        return (own != self.vector_groups[columns]) | (own < 0)

    def _search_exactly(self, rows: Ints, queries: Scores) -> tuple[Ints, Scores]:
        """As `_photos`, of the best among all vectors."""
        best, at = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int64)
        for start, vectors in self._blocks():
            columns = np.tile(np.arange(start, start + len(vectors)), (len(rows), 1))
            scores = queries @ vectors.T
            if self.groups is not None:
                scores[~self._vector_counts(rows, columns)] = -np.inf
            scores, columns = np.hstack([best, scores]), np.hstack([at, columns])
            first = np.argsort(-scores, axis=1, kind="stable")[:, : self.cut]
            best, at = np.take_along_axis(scores, first, 1), np.take_along_axis(columns, first, 1)
        return self._photos(rows, queries, np.sort(np.where(best > -np.inf, at, -1), axis=1))

    def _recall(self) -> float:
        self.searched_exactly = 0
        rows = np.unique(np.linspace(0, len(self.queries.items) - 1, SAMPLE).astype(np.int64))
        exact, found = self._search_exactly(rows, self._queries(rows))[0], self._by_ret(rows)[0]
        shares = [
            np.isin(true[true >= 0], some).mean() for true, some in zip(exact, found, strict=True) if (true >= 0).any()
        ]
        return float(np.mean(shares)) if shares else 1.0
