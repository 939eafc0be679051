"""How photos are ranked for a block of queries: by [Ret], by relation score, or by a cascade of the two."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.items import Items
from zsecli.errors import StoreError, UsageError, nearest
from zsecli.model.config import Precision
from zsecli.retrieval.order import order
from zsecli.store.features import Features

By = Literal["ret", "rn", "cascade"]
BY = get_args(By)

Scores = NDArray[np.float32]

ENTRIES_AT_ONCE = 2**22  # of a ranking, that are sorted together
PAIRS_AT_ONCE = 2**16  # that a relation network scores between two commits, if every photo is scored
DIGEST = 16  # bytes
READ = 1024  # vectors whose lengths are computed together
LONGEST = 1e18  # length of a [Ret], of which float32 holds the square
NOTHING, ROUNDING = 2e-5, 1e-6  # lengths of what rounding leaves: of grey values about their mean; of what was longer
SKETCH_BYTES = 2**30  # for the sketches whose shortlists are scored together


@dataclass(frozen=True)
class MatchOptions:
    """How to rank.

    by: `ret` cosine of [Ret]; `rn` relation score of every pair; `cascade` the `shortlist` best by
        [Ret], re-ranked by relation score, and behind them the rest by [Ret].
    ignore_same: leave out pairs whose pictures agree in this column (label, instance, family).
    center: take each modality's mean [Ret] away first.
    depth: photos to keep for a query; 0 keeps all.
    ann: find the shortlist approximately, and keep no other photo.
    precision: of the relation network; what it is given and its score are float32 all the same.
    """

    by: By = "cascade"
    shortlist: int = 100
    ignore_same: str | None = None
    center: bool = False
    depth: int = 0
    precision: Precision = "fp32"
    ann: bool = False

    def __post_init__(self) -> None:
        if self.ignore_same is not None and self.ignore_same not in Items.COLUMNS:
            raise UsageError(
                f"--ignore-same {self.ignore_same}: no such column",
                f"columns: {', '.join(Items.COLUMNS)}{nearest(self.ignore_same, Items.COLUMNS)}",
            )
        if self.by == "rn" and self.center:
            raise UsageError("--center has no say in relation scores", "leave it out, or rank with --by ret or cascade")
        if self.by == "ret":  # a cosine
            object.__setattr__(self, "precision", "fp32")
        if self.ann and (self.by == "rn" or self.depth > self.shortlist):
            raise UsageError(
                "--ann finds a shortlist by [Ret], and no other photo",
                "--by ret or cascade, with --depth below --shortlist",
            )
        if self.shortlist < 1 or self.depth < 0:
            raise UsageError("--shortlist must be at least 1, --depth at least 0")

    @property
    def tag(self) -> str:
        """The part of a file name that tells rankings of the same features apart."""
        parts = [f"cascade{self.shortlist}" if self.by == "cascade" else self.by]
        parts += [f"ann{self.shortlist}"] * self.ann
        parts += [self.precision] * (self.precision != "fp32")
        parts += ["centred"] * self.center + [f"not-same-{self.ignore_same}"] * bool(self.ignore_same)
        return "-".join(parts + [f"top{self.depth}"] * bool(self.depth))


def at_once(options: MatchOptions, photos: int, prepared: int) -> int:
    """Queries to rank together.

    Enough that preparing a photo costs little beside scoring it, and not so many that their ranks and sketches take
    much memory, or a kill much work.

    It depends on nothing but the inputs: rounding does on what is computed together, and however the work is shared
    out, the ranking must be the same.

    Args:
        photos: the gallery's number. prepared: bytes of a picture prepared for the relation network.
    """
    if options.ann:
        photos = min(photos, 4 * options.shortlist)
    if options.by == "ret":
        return max(1, ENTRIES_AT_ONCE // photos)
    most = PAIRS_AT_ONCE // photos if options.by == "rn" else 4 * ENTRIES_AT_ONCE // photos
    return max(16, min(1024, most, SKETCH_BYTES // prepared))


class Ranker:
    """Ranks blocks of queries against the whole gallery, whose [Ret] it holds.

    about: what a ranking's provenance should say of it.
    """

    def __init__(self, queries: Features, gallery: Features, options: MatchOptions, scorer: Any) -> None:
        self.queries, self.options, self.scorer = queries, options, scorer
        self.query_mean = photo_mean = np.zeros(queries.width, np.float32)
        if options.center:
            self.query_mean, photo_mean = mean(queries), mean(gallery)
        self.photos = len(gallery.items)
        self.about: dict[str, Any] = {}
        self.groups: tuple[Ints, Ints] | None = None
        if options.ignore_same:
            ours, theirs = (getattr(f.items, options.ignore_same) for f in (queries, gallery))
            self.groups = ours.codes_in(theirs.names), theirs.codes
        self._open(gallery, photo_mean)

    def _open(self, gallery: Features, photo_mean: Scores) -> None:
        self.vectors = unit(gallery, slice(None), photo_mean)
        self.first = first_of_its_kind(self.vectors, gallery.items.sha256)
        self.repeated = np.flatnonzero(self.first != np.arange(self.photos))
        self.step = max(1, ENTRIES_AT_ONCE // self.photos)

    def rank(self, advance: Callable[[int], None], block: slice) -> tuple[Ints, Scores]:
        """Gallery rows (B, G) int32 for a block of queries, best first, with scores; -1 and NaN fill the rest."""
        if self.options.by == "rn":
            counts = self._counts(block)
            rows, columns = np.nonzero(counts)
            scores = np.full(counts.shape, np.nan, np.float32)
            scores[rows, columns] = self.scorer.score(block.start + rows, columns, advance)
            advance(counts.size - len(rows))
            return self._ordered(scores)
        starts = range(block.start, block.stop, self.step)
        parts = [self._by_ret(slice(start, min(start + self.step, block.stop))) for start in starts]
        indices, scores = (np.concatenate(part) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))
        done = len(indices) * self.photos
        if self.options.by == "cascade":
            done -= self._rerank(block.start, indices, scores, advance)
        advance(done)  # the scorer told of the others
        return indices, scores

    def _by_ret(self, block: slice | Ints) -> tuple[Ints, Scores]:
        scores = self._queries(block) @ self.vectors.T
        if self.groups is not None:
            scores[~self._counts(block)] = np.nan
        return self._ordered(scores)

    def _queries(self, rows: slice | Ints) -> Scores:
        return unit(self.queries, rows, self.query_mean)

    def _counts(self, rows: slice | Ints, columns: slice | Ints = np.s_[:]) -> NDArray[np.bool_]:
        """(B, G), the pairs that count, of queries `rows`; (B, K) of those with photos `columns` (B, K)."""
        if self.groups is None:
            return np.ones((len(np.arange(len(self.queries.items))[rows]), self.photos), bool)
        ours, theirs = self.groups[0][rows][:, None], self.groups[1][columns]
        return (ours != theirs) | (ours < 0)

    def _ordered(self, scores: Scores) -> tuple[Ints, Scores]:
        """Scores (B, G), NaN where a pair does not count -> gallery rows in order, and their scores."""
        # what rounding makes of one and the same photo depends on its column: repeated, it is scored as the first
        own, alike = scores[:, self.repeated], scores[:, self.first[self.repeated]]
        scores[:, self.repeated] = np.where(np.isnan(own) | np.isnan(alike), own, alike)
        return sort(scores)

    def _rerank(self, start: int, indices: Ints, scores: Scores, advance: Callable[[int], None]) -> int:
        """Put the first `shortlist` photos of every row, and their scores, as their relation scores say.

        The others keep their order; their cosines move below every relation score, to -3 ... -1. Returns the number of
        pairs scored.
        """
        cut = self.options.shortlist
        columns = np.sort(indices[:, :cut], axis=1)
        rows, at = np.nonzero(columns >= 0)
        relation = np.full(columns.shape, np.nan, np.float32)
        relation[rows, at] = self.scorer.score(start + rows, columns[rows, at], advance)
        for row, place in np.argwhere((columns >= 0) & np.isin(columns, self.repeated)):
            first = np.searchsorted(columns[row], self.first[columns[row, place]])
            if columns[row, first] == self.first[columns[row, place]]:
                relation[row, place] = relation[row, first]
        best, scores[:, :cut] = sort(relation)
        indices[:, :cut] = np.where(best < 0, -1, np.take_along_axis(columns, best, 1))
        scores[:, cut:] -= 2
        return len(rows)


def sort(scores: Scores) -> tuple[Ints, Scores]:
    """Scores (B, K), NaN where there is none -> columns (B, K) int32 in their order and the scores so; -1 for NaN."""
    none = np.isnan(scores)
    some = none.any()
    columns = order(np.where(none, -np.inf, scores) if some else scores)
    scores = np.take_along_axis(scores, columns, 1)
    if some:
        columns[np.isnan(scores)] = -1
    return columns.astype(np.int32), scores


def first_of_its_kind(vectors: Scores, sha256: NDArray[np.uint8]) -> Ints:
    """(G,) for each photo the first one with its vector (G, D) and its file: itself, unless repeated."""
    first = first_copies(sha256)
    suspects = np.isin(first, first[first != np.arange(len(first))])
    rows = np.flatnonzero(suspects)  # photos whose file is there again: their vectors alone are compared
    first[rows] = rows[first_copies(np.hstack([sha256[rows], digests(vectors[row] for row in rows)]))]
    return first


def digests(vectors: Iterable[Scores]) -> NDArray[np.uint8]:
    """(N, 16) of N vectors, the same where these are equal: to compare digests takes little memory."""
    positive_zeros = (vector + np.float32(0) for vector in vectors)  # -0.0 has other bytes than 0.0
    found = b"".join(hashlib.blake2b(vector.tobytes(), digest_size=DIGEST).digest() for vector in positive_zeros)
    return np.frombuffer(found, np.uint8).reshape(-1, DIGEST)


def first_copies(rows: NDArray[np.uint8]) -> Ints:
    """(N,) for each row of bytes (N, B) the first row like it.

    >>> first_copies(np.array([[7, 1], [7, 2], [7, 1]], np.uint8))
    array([0, 1, 0])
    """
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1]))).ravel()
    _, first, group = np.unique(whole, return_index=True, return_inverse=True)
    return first[group]


def mean(features: Features, step: int = 4096) -> Scores:
    """(D,) mean of [Ret] over a store, read in pieces."""
    total = np.zeros(features.width)
    for start in range(0, len(features.items), step):
        total += _read(features, slice(start, start + step)).sum(0, dtype=np.float64)
    return (total / len(features.items)).astype(np.float32)


def unit(features: Features, rows: slice | Ints, less: Scores) -> Scores:
    """[Ret] (N, D) of `rows`, less the vector `less` (D,), at length 1; zeros stay zeros, whose cosine with all is 0.

    Where no more than rounding is left of a vector, as of a blank picture's pixels about their mean, that is zero too:
    its direction would be chance, and two of them would be wholly alike or opposite.

    Raises:
        StoreError: naming the picture whose [Ret] is no number, or too large to have a length.
    """
    chosen = np.arange(len(features.items))[rows]
    vectors = np.empty((len(chosen), features.width), np.float32)
    for start in range(0, len(chosen), READ):  # so that a gallery is in memory once, beside little else
        part, whole = vectors[start : start + READ], _read(features, chosen[start : start + READ])
        np.subtract(whole, less, out=part)
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        before = np.linalg.norm(whole, axis=1, keepdims=True)
        is_rounding = lengths <= np.maximum(NOTHING, ROUNDING * (before if less.any() else 0))
        part /= np.where(is_rounding, 1, lengths)
        part[is_rounding[:, 0]] = 0
    return vectors


def _read(features: Features, rows: slice | Ints) -> Scores:
    vectors = features.read("ret", rows)
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~(np.linalg.norm(vectors, axis=1) < LONGEST)
    if bad.any():
        name = features.items.id[np.arange(len(features.items))[rows][bad.argmax()]]
        raise StoreError(
            f"{features.path}: holds a [Ret] that is no number, or too large, of {name}", "delete it and embed again"
        )
    return vectors
