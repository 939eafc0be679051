"""How photos are ranked for a block of queries: by [Ret], by relation score, or by a cascade of the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from zsecli.errors import StoreError, UsageError, nearest
from zsecli.retrieval.order import order
from zsecli.store.features import Features
from zsecli.store.items import Ints, Items

By = Literal["ret", "rn", "cascade"]
BY = get_args(By)

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class MatchOptions:
    """How to rank.

    by: `ret` cosine of [Ret]; `rn` relation score of every pair; `cascade` the `shortlist` best by
        [Ret], re-ranked by relation score, and behind them the rest by [Ret].
    ignore_same: leave out pairs whose pictures agree in this column (label, instance, family).
    center: take each modality's mean [Ret] away first.
    depth: photos to keep for a query; 0 keeps all.
    """

    by: By = "cascade"
    shortlist: int = 100
    ignore_same: str | None = None
    center: bool = False
    depth: int = 0

    def __post_init__(self) -> None:
        if self.ignore_same is not None and self.ignore_same not in Items.COLUMNS:
            raise UsageError(
                f"--ignore-same {self.ignore_same}: no such column",
                f"columns: {', '.join(Items.COLUMNS)}{nearest(self.ignore_same, Items.COLUMNS)}",
            )
        if self.by == "rn" and self.center:
            raise UsageError("--center has no say in relation scores", "leave it out, or rank with --by ret or cascade")
        if self.shortlist < 1 or self.depth < 0:
            raise UsageError("--shortlist must be at least 1, --depth at least 0")

    @property
    def tag(self) -> str:
        """The part of a file name that tells rankings of the same features apart."""
        parts = [f"cascade{self.shortlist}" if self.by == "cascade" else self.by]
        parts += ["centred"] * self.center + [f"not-same-{self.ignore_same}"] * bool(self.ignore_same)
        return "-".join(parts + [f"top{self.depth}"] * bool(self.depth))


class Ranker:
    """Ranks blocks of queries against the whole gallery, whose [Ret] it holds."""

    def __init__(self, queries: Features, gallery: Features, options: MatchOptions, scorer: Any) -> None:
        self.queries, self.options, self.scorer = queries, options, scorer
        self.query_mean = photo_mean = np.zeros(queries.width, np.float32)
        if options.center:
            self.query_mean, photo_mean = mean(queries), mean(gallery)
        self.photos = unit(gallery, gallery.read("ret", slice(None)) - photo_mean)
        self.first = first_of_its_kind(self.photos, gallery.items.sha256)
        self.groups: tuple[Ints, Ints] | None = None
        if options.ignore_same:
            ours, theirs = (getattr(f.items, options.ignore_same) for f in (queries, gallery))
            self.groups = ours.under(theirs.names), theirs.codes

    def rank(self, start: int, stop: int, advance: Callable[[int], None]) -> tuple[Ints, Scores]:
        """Gallery rows (B, G) for queries `start` to `stop`, best first, with scores; -1 and NaN fill the rest."""
        counts = np.ones((stop - start, len(self.photos)), bool)
        if self.groups is not None:
            ours, theirs = self.groups
            counts = (ours[start:stop, None] != theirs[None]) | (ours[start:stop, None] < 0)
        if self.options.by == "rn":
            wanted = counts
            indices, scores = self._ordered(self.scorer.score(start, stop, wanted, advance))
        else:
            queries = unit(self.queries, self.queries.read("ret", slice(start, stop)) - self.query_mean)
            indices, scores = self._ordered(np.where(counts, queries @ self.photos.T, np.nan))
            cascade = self.options.by == "cascade"
            wanted = self._first(indices, self.options.shortlist if cascade else 0)
            if cascade:
                self._rerank(self.scorer.score(start, stop, wanted, advance), indices, scores)
        advance(int((~wanted).sum()))  # the scorer told of the others
        return indices, scores

    def _ordered(self, scores: Scores) -> tuple[Ints, Scores]:
        """Scores (B, G), NaN where a pair does not count -> gallery rows in order, and their scores."""
        alike = scores[:, self.first]  # what rounding makes of one and the same photo depends on its column
        scores = np.where(np.isnan(scores) | np.isnan(alike), scores, alike)
        indices = order(np.where(np.isnan(scores), -np.inf, scores))
        scores = np.take_along_axis(scores, indices, 1)
        indices[np.isnan(scores)] = -1
        return indices, scores

    def _first(self, indices: Ints, count: int) -> NDArray[np.bool_]:
        """(B, G), the pairs of every query with its first `count` photos."""
        pairs = np.zeros((len(indices), len(self.photos) + 1), bool)  # the last column takes the -1
        np.put_along_axis(pairs, indices[:, :count], True, 1)
        return pairs[:, :-1]

    def _rerank(self, relation: Scores, indices: Ints, scores: Scores) -> None:
        """Put the first `shortlist` photos of every row, and their scores, as their relation scores (B, G) say.

        The others keep their order; their cosines move below every relation score, to -3 ... -1.
        """
        cut = self.options.shortlist
        best, best_scores = self._ordered(relation)
        indices[:, :cut], scores[:, :cut] = best[:, :cut], best_scores[:, :cut]
        scores[:, cut:] -= 2


def first_of_its_kind(vectors: Scores, sha256: NDArray[np.uint8]) -> Ints:
    """(G,) for each photo the first one with its vector (G, D) and its file: itself, unless repeated."""
    rows = np.hstack([np.ascontiguousarray(vectors).view(np.uint8), sha256])
    _, first, group = np.unique(rows.view(np.dtype((np.void, rows.shape[1]))), return_index=True, return_inverse=True)
    return first[group.ravel()]


def mean(features: Features, step: int = 4096) -> Scores:
    """(D,) mean of [Ret] over a store, read in pieces."""
    total = np.zeros(features.width)
    for start in range(0, len(features.items), step):
        total += features.read("ret", slice(start, start + step)).sum(0, dtype=np.float64)
    return (total / len(features.items)).astype(np.float32)


def unit(features: Features, vectors: Scores) -> Scores:
    """Rows of (N, D) at length 1; a row of zeros stays so. StoreError, naming the store, where one has no length."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise StoreError(f"{features.path}: holds [Ret] that are no numbers, or too large", "delete it and embed again")
    return vectors / np.maximum(lengths, 1e-12)
