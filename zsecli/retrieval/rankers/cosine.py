"""`ret`: photos by the cosine of their [Ret] with that of the sketch."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from zsecli.arrays import Floats32, Ints
from zsecli.retrieval.copies import PhotoCopies
from zsecli.retrieval.eligibility import EligiblePairs
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rankers import base
from zsecli.retrieval.rankers.ann import ApproximateSearch
from zsecli.retrieval.rankers.base import Advance, PairScorer, Search, search_in_steps, sort_scores
from zsecli.retrieval.ret_vectors import mean_ret, read_unit_ret
from zsecli.store.features import Features


class CosineRanker:
    """Ranks by the cosine of [Ret] alone."""

    uses_ret: ClassVar[bool] = True
    uses_relation: ClassVar[bool] = False
    uses_shortlist: ClassVar[bool] = False

    def __init__(
        self, queries: Features, gallery: Features, options: MatchOptions, scorer: PairScorer | None = None
    ) -> None:
        self.n_photos = len(gallery.items)
        self._search, _ = open_search(queries, gallery, options)
        self.provenance = self._search.provenance
        self.is_thread_safe = self._search.is_thread_safe

    @staticmethod
    def queries_per_block(n_photos: int, prepared_bytes: int) -> int:
        return max(1, base.ENTRIES_AT_ONCE // n_photos)

    def rank(self, block: slice, advance: Advance) -> tuple[Ints, Floats32]:
        photos, scores = self._search.search(block)
        advance(len(photos) * self.n_photos)
        return photos, scores

    def notes(self) -> list[str]:
        return self._search.notes()


class ExactSearch:
    """Compares each sketch with every photo of a gallery, whose [Ret] are in memory."""

    is_thread_safe = True

    def __init__(self, queries: Features, gallery: Features, options: MatchOptions) -> None:
        self.provenance: dict[str, Any] = {}
        self.queries = queries
        self.query_offset, photo_offset = mean_vectors(queries, gallery, options.center)
        self.vectors = read_unit_ret(gallery, slice(None), photo_offset)
        """(G, D) [Ret] of the photos at unit length."""
        self.copies = PhotoCopies.find(self.vectors, gallery.items.sha256)
        self.eligible = EligiblePairs(queries.items, gallery.items, options.ignore_same)
        self.queries_per_step = max(1, base.ENTRIES_AT_ONCE // len(gallery.items))

    def search(self, block: slice) -> tuple[Ints, Floats32]:
        return search_in_steps(self._search_rows, block, self.queries_per_step)

    def _search_rows(self, rows: slice) -> tuple[Ints, Floats32]:
        scores = read_unit_ret(self.queries, rows, self.query_offset) @ self.vectors.T
        if not self.eligible.all_eligible:
            scores[~self.eligible.mask(rows)] = np.nan
        self.copies.share_scores(scores)
        return sort_scores(scores)

    def notes(self) -> list[str]:
        return []


def open_search(queries: Features, gallery: Features, options: MatchOptions) -> tuple[Search, PhotoCopies]:
    """The search by [Ret] that the options choose, and the copies among the photos, which must share one score."""
    if options.ann:
        offsets = mean_vectors(queries, gallery, options.center)
        eligible = EligiblePairs(queries.items, gallery.items, options.ignore_same)
        search = ApproximateSearch(queries, gallery, offsets, eligible, options.shortlist)
        return search, PhotoCopies.none(len(gallery.items))  # copies by [Ret] alone are re-ranked one by one
    exact = ExactSearch(queries, gallery, options)
    return exact, exact.copies


def mean_vectors(queries: Features, gallery: Features, center: bool) -> tuple[Floats32, Floats32]:
    """(D,) and (D,) to subtract from the [Ret] of sketches and photos: their means if `center`, else zeros."""
    if center:
        return mean_ret(queries), mean_ret(gallery)
    zeros = np.zeros(queries.width, np.float32)
    return zeros, zeros
