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
            raise UsageError("--ann needs faiss", "pip install 'zse[ann]', or leave it out") from error
        self.repeated = np.empty(0, np.int64)  # [Ret] of all photos, which could tell, are never here together
        self.gallery, self.photo_mean = gallery, photo_mean
        self.cut = min(self.options.shortlist, len(gallery.items))
        self.found = min(WIDER * self.cut, len(gallery.items))
        self.step = max(1, VALUES // (self.found * gallery.width))
        count = len(gallery.items)
        lists = max(1, min(int(4 * count**0.5), count // 39))  # 39: fewer training vectors a list, and faiss warns
        index: Any = faiss.index_factory(gallery.width, f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
        self.index = index
        self.index.train(self._vectors(np.unique(np.linspace(0, count - 1, min(count, 64 * lists)).astype(np.int64))))
        self.index.nprobe = PROBES
        for _, vectors in self._blocks():
            self.index.add(vectors)
        self.about = {"recall": self._recall()}
        note(f"the approximate shortlist holds {self.about['recall']:.1%} of the exact one")

    def _vectors(self, rows: slice | Ints) -> Scores:
        return unit(self.gallery, self.gallery.read("ret", rows) - self.photo_mean)

    def _blocks(self) -> Iterator[tuple[int, Scores]]:
        for start in range(0, len(self.gallery.items), READ):
            yield start, self._vectors(slice(start, start + READ))

    def _by_ret(self, block: slice) -> tuple[Ints, Scores]:
        queries = self._queries(block)
        columns = np.sort(self.index.search(queries, self.found)[1], axis=1)  # -1 where it found fewer
        rows, place = np.unique(np.maximum(columns, 0), return_inverse=True)
        scores = np.einsum("qd,qkd->qk", queries, self._vectors(rows)[place.reshape(columns.shape)])
        scores[columns < 0] = np.nan
        if self.groups is not None:
            scores[~np.take_along_axis(self._counts(block), np.maximum(columns, 0), 1)] = np.nan
        at, scores = sort(scores)
        indices = np.where(at < 0, -1, np.take_along_axis(columns, np.maximum(at, 0), 1))
        return indices[:, : self.cut].astype(np.int32), scores[:, : self.cut]

    def _recall(self) -> float:
        rows = np.unique(np.linspace(0, len(self.queries.items) - 1, SAMPLE).astype(np.int64))
        queries = self._queries(rows)
        best, at = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int64)
        for start, vectors in self._blocks():
            scores = np.hstack([best, queries @ vectors.T])
            places = np.hstack([at, np.tile(np.arange(start, start + len(vectors)), (len(rows), 1))])
            first = np.argsort(-scores, axis=1, kind="stable")[:, : self.cut]
            best, at = (np.take_along_axis(values, first, 1) for values in (scores, places))
        found = self.index.search(queries, self.found)[1]
        return float(np.mean([np.isin(true, some).mean() for true, some in zip(at, found, strict=True)]))
