"""`rn`: photos by the relation score of each pair."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from zsecli.arrays import Floats32, Ints
from zsecli.retrieval.copies import PhotoCopies
from zsecli.retrieval.eligibility import EligiblePairs
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rankers import base
from zsecli.retrieval.rankers.base import Advance, PairScorer, relation_queries_per_block, sort_scores
from zsecli.retrieval.ret_vectors import read_unit_ret
from zsecli.store.features import Features


class RelationRanker:
    """Floats32 every eligible pair with the relation network."""

    uses_ret: ClassVar[bool] = False
    uses_relation: ClassVar[bool] = True
    uses_shortlist: ClassVar[bool] = False
    is_thread_safe = False  # the relation network has threads of its own

    def __init__(self, queries: Features, gallery: Features, options: MatchOptions, scorer: PairScorer | None) -> None:
        assert scorer is not None
        self.provenance: dict[str, Any] = {}
        self._scorer = scorer
        self._eligible = EligiblePairs(queries.items, gallery.items, options.ignore_same)
        vectors = read_unit_ret(gallery, slice(None), np.zeros(gallery.width, np.float32))
        self._copies = PhotoCopies.find(vectors, gallery.items.sha256)

    @staticmethod
    def queries_per_block(n_photos: int, prepared_bytes: int) -> int:
        return relation_queries_per_block(base.PAIRS_AT_ONCE // n_photos, prepared_bytes)

    def rank(self, block: slice, advance: Advance) -> tuple[Ints, Floats32]:
        is_eligible = self._eligible.mask(block)
        rows, photos = np.nonzero(is_eligible)
        scores = np.full(is_eligible.shape, np.nan, np.float32)
        scores[rows, photos] = self._scorer.score(block.start + rows, photos, advance)
        advance(is_eligible.size - len(rows))
        self._copies.share_scores(scores)
        return sort_scores(scores)

    def notes(self) -> list[str]:
        return []
