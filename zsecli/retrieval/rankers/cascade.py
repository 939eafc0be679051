"""`cascade`: a shortlist by the cosine of [Ret], re-ranked by relation score."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from zsecli.arrays import Floats32, Ints
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rankers import base
from zsecli.retrieval.rankers.base import Advance, PairScorer, relation_queries_per_block, sort_scores
from zsecli.retrieval.rankers.cosine import open_search
from zsecli.store.features import Features


class CascadeRanker:
    """Re-ranks the first photos by [Ret] with the relation network; the others follow in the order of [Ret]."""

    uses_ret: ClassVar[bool] = True
    uses_relation: ClassVar[bool] = True
    uses_shortlist: ClassVar[bool] = True
    is_thread_safe = False  # the relation network has threads of its own

    def __init__(self, queries: Features, gallery: Features, options: MatchOptions, scorer: PairScorer | None) -> None:
        assert scorer is not None
        self.n_photos = len(gallery.items)
        self.shortlist = options.shortlist
        self._scorer = scorer
        self._search, self._copies = open_search(queries, gallery, options)
        self.provenance = self._search.provenance

    @staticmethod
    def queries_per_block(n_photos: int, prepared_bytes: int) -> int:
        return relation_queries_per_block(4 * base.ENTRIES_AT_ONCE // n_photos, prepared_bytes)

    def rank(self, block: slice, advance: Advance) -> tuple[Ints, Floats32]:
        photos, scores = self._search.search(block)
        n_scored = self._rerank(block.start, photos, scores, advance)
        advance(len(photos) * self.n_photos - n_scored)
        return photos, scores

    def notes(self) -> list[str]:
        return self._search.notes()

    def _rerank(self, first_query: int, photos: Ints, scores: Floats32, advance: Advance) -> int:
        """Put the shortlist of every query in the order of its relation scores; photos (B, K), scores (B, K).

        The others keep their order; their cosines move below every relation score, to -3 ... -1. Returns the number of
        pairs scored.
        """
        shortlist = np.sort(photos[:, : self.shortlist], axis=1)
        rows, columns = np.nonzero(shortlist >= 0)
        relation = np.full(shortlist.shape, np.nan, np.float32)
        relation[rows, columns] = self._scorer.score(first_query + rows, shortlist[rows, columns], advance)
        self._copies.share_listed_scores(shortlist, relation)
        best, scores[:, : self.shortlist] = sort_scores(relation)
        photos[:, : self.shortlist] = np.where(best < 0, -1, np.take_along_axis(shortlist, best, 1))
        scores[:, self.shortlist :] -= 2
        return len(rows)
