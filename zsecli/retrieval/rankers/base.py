"""What every ranker offers, and how scores become a ranking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from zsecli.arrays import Floats32, Ints
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.order import order_by_score
from zsecli.store.features import Features

Advance = Callable[[int], None]
"""Called with the number of pairs just ranked."""

ENTRIES_AT_ONCE = 2**22  # entries of a ranking that are sorted together
PAIRS_AT_ONCE = 2**16  # pairs that a relation network scores between two commits, if every photo is scored
MIN_QUERIES, MAX_QUERIES = 16, 1024  # queries of a block that a relation network scores
SKETCH_BYTES = 2**30  # memory for the prepared sketches of such a block


class PairScorer(Protocol):
    """Floats32 pairs with a relation network, see `zsecli.retrieval.relation_scores.RelationScorer`."""

    def score(self, rows: Ints, columns: Ints, advance: Advance) -> Floats32:
        """Floats32 (M,) of the pairs of sketch `rows[i]` and photo `columns[i]`."""


class Ranker(Protocol):
    """A scoring rule: ranks blocks of queries against a whole gallery.

    A class with these members, named in `zsecli.vocabulary.SCORING_RULES`, is what `zse match --by` offers.
    """

    uses_ret: ClassVar[bool]
    """Whether cosines of [Ret] decide on the order, so that these can be centred, or searched approximately."""
    uses_relation: ClassVar[bool]
    """Whether a relation network is needed; `scorer` is None where it is not."""
    uses_shortlist: ClassVar[bool]
    """Whether `MatchOptions.shortlist` changes the ranking."""
    provenance: dict[str, Any]
    """What the ranking store records of this ranker, beside the options."""
    is_thread_safe: bool
    """Whether blocks may be ranked in several threads at a time."""

    def __init__(
        self, queries: Features, gallery: Features, options: MatchOptions, scorer: PairScorer | None
    ) -> None: ...

    @staticmethod
    def queries_per_block(n_photos: int, prepared_bytes: int) -> int:
        """Queries to rank together; see `zsecli.retrieval.match_options.queries_per_block`."""

    def rank(self, block: slice, advance: Advance) -> tuple[Ints, Floats32]:
        """Gallery rows (B, K) int32 of a block of queries, best first, and scores; -1 and NaN behind the last."""

    def notes(self) -> list[str]:
        """What a user should know of the blocks that were ranked."""


class Search(Protocol):
    """Ranks photos by the cosine of [Ret], exactly or approximately."""

    provenance: dict[str, Any]
    is_thread_safe: bool

    def search(self, block: slice) -> tuple[Ints, Floats32]:
        """Gallery rows (B, K) int32 of a block of queries, best first, and cosines; -1 and NaN behind the last."""

    def notes(self) -> list[str]:
        """As in `Ranker`."""


def sort_scores(scores: Floats32) -> tuple[Ints, Floats32]:
    """Columns (B, K) int32 in the order of scores (B, K), and the sorted scores; where a score is NaN, -1 and NaN."""
    is_missing = np.isnan(scores)
    if not is_missing.any():
        columns = order_by_score(scores)
        return columns.astype(np.int32), np.take_along_axis(scores, columns, 1)
    columns = order_by_score(np.where(is_missing, -np.inf, scores))
    sorted_scores = np.take_along_axis(scores, columns, 1)
    columns[np.isnan(sorted_scores)] = -1
    return columns.astype(np.int32), sorted_scores


def search_in_steps(
    search_rows: Callable[[slice], tuple[Ints, Floats32]], block: slice, step: int
) -> tuple[Ints, Floats32]:
    """`search_rows` over a block of queries, at most `step` of them at a time."""
    results = []
    for start in range(block.start, block.stop, step):
        results.append(search_rows(slice(start, min(start + step, block.stop))))
    if len(results) == 1:
        return results[0]
    photos = np.concatenate([photos for photos, _ in results])
    scores = np.concatenate([scores for _, scores in results])
    return photos, scores


def relation_queries_per_block(limit: int, prepared_bytes: int) -> int:
    """Queries that a relation network scores together, at most `limit`, as far as their sketches fit into memory."""
    return max(MIN_QUERIES, min(MAX_QUERIES, limit, SKETCH_BYTES // prepared_bytes))
