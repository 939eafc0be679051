"""An approximate shortlist by [Ret], for galleries beyond memory. It needs the extra `ann`: faiss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from zsecli.console import note
from zsecli.errors import UsageError
from zsecli.retrieval.rank import Ranker, Scores, sort, unit
from zsecli.store.features import Features
from zsecli.store.items import Ints

READ = 65536  # photos in memory at once
PROBES = 64  # lists that are searched for a query
WIDER = 4  # times the shortlist are found by rounded vectors, and sorted by whole ones
SAMPLE = 100  # queries whose recall is measured
VALUES = 2**26  # of whole vectors, in memory at once


class AnnRanker(Ranker):
    """Ranks for a query the photos that an inverted file of 8-bit vectors finds (faiss: IVF, SQ8), by exact cosine.

    A photo takes D bytes, a quarter of what exact search holds. A ranking is a shortlist deep.

    Attributes:
        about: `recall`, the share of the true shortlist that is found, mean over at most SAMPLE queries.
    """

    def _open(self, gallery: Features, photo_mean: Scores) -> None:
        try:
            import faiss
        except ImportError as error:
            raise UsageError("--ann needs faiss", "pip install faiss-cpu, or leave it out") from error
        self.repeated = np.empty(0, np.int64)  # [Ret] of all photos, which could tell, are never here together
        self.gallery, self.photo_mean = gallery, photo_mean
        self.cut = min(self.options.shortlist, len(gallery.items))
        self.found = min(WIDER * self.cut, len(gallery.items))
        self.step = max(1, VALUES // (self.found * gallery.width))
        count = len(gallery.items)
        lists = min(int(4 * count**0.5), count // 39)  # 39: fewer training vectors a list, and faiss warns
        kind = f"IVF{lists},SQ8" if lists > 1 else "SQ8"
        index: Any = faiss.index_factory(gallery.width, kind, faiss.METRIC_INNER_PRODUCT)
        self.index = index
        self.index.train(
            self._vectors(np.unique(np.linspace(0, count - 1, min(count, 64 * max(1, lists))).astype(np.int64)))
        )
        if lists > 1:
            self.index.nprobe = PROBES
        for _, vectors in self._blocks():
            self.index.add(vectors)
        self.about = {"recall": self._recall()}
        note(f"the approximate shortlist holds {self.about['recall']:.1%} of the exact one")

    def _vectors(self, rows: slice | Ints) -> Scores:
        return unit(self.gallery, rows, self.photo_mean)

    def _blocks(self) -> Iterator[tuple[int, Scores]]:
        for start in range(0, len(self.gallery.items), READ):
            yield start, self._vectors(slice(start, start + READ))

    def _by_ret(self, block: slice | Ints) -> tuple[Ints, Scores]:
        queries = self._queries(block)
        columns = self._candidates(queries, block)
        rows, place = np.unique(np.maximum(columns, 0), return_inverse=True)
        scores = np.einsum("qd,qkd->qk", queries, self._vectors(rows)[place.reshape(columns.shape)])
        scores[columns < 0] = np.nan
        at, scores = sort(scores)
        indices = np.where(at < 0, -1, np.take_along_axis(columns, np.maximum(at, 0), 1))
        return indices[:, : self.cut].astype(np.int32), scores[:, : self.cut]

    def _candidates(self, queries: Scores, block: slice | Ints) -> Ints:
        """Gallery rows (B, `found`), ascending, of photos that count; -1 where there are fewer."""
        asked = self.found
        while True:
            columns = self.index.search(queries, asked)[1]
            if self.groups is not None:
                more = columns[:, -1] >= 0  # the lists that are searched hold more
                columns[~self._counts(block, columns)] = -1
                if asked < self.photos and (more & ((columns >= 0).sum(1) < self.cut)).any():
                    asked = min(4 * asked, self.photos)
                    continue
            best = np.argsort(columns < 0, axis=1, kind="stable")[:, : self.found]
            return np.sort(np.take_along_axis(columns, best, 1), axis=1)

    def _recall(self) -> float:
        rows = np.unique(np.linspace(0, len(self.queries.items) - 1, SAMPLE).astype(np.int64))
        queries = self._queries(rows)
        best, at = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int64)
        for start, vectors in self._blocks():
            columns = np.tile(np.arange(start, start + len(vectors)), (len(rows), 1))
            scores = queries @ vectors.T
            if self.groups is not None:
                scores[~self._counts(rows, columns)] = -np.inf
            scores, columns = np.hstack([best, scores]), np.hstack([at, columns])
            first = np.argsort(-scores, axis=1, kind="stable")[:, : self.cut]
            best, at = np.take_along_axis(scores, first, 1), np.take_along_axis(columns, first, 1)
        found = self._by_ret(rows)[0]
        shares = [
            np.isin(true[score > -np.inf], some).mean()
            for true, score, some in zip(at, best, found, strict=True)
            if (score > -np.inf).any()
        ]
        return float(np.mean(shares)) if shares else 1.0
