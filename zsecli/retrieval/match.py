"""The stage `match`: two feature stores -> a ranking store."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from zsecli.console import SILENT, Progress, note, warn
from zsecli.errors import StoreError, UsageError, nearest
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.order import order
from zsecli.store.features import Features, open_features
from zsecli.store.header import Header, check_target, finished, run_key, versions
from zsecli.store.items import PHOTO, SKETCH, Ints, Items
from zsecli.store.ranking import RankingWriter

By = Literal["ret", "rn", "cascade"]
BY = get_args(By)
QUERIES_AT_ONCE = 64
CENTRE_FROM = 10  # a mean over fewer pictures says more about them than about their modality

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


@dataclass(frozen=True)
class MatchResult:
    path: Path
    fresh: bool


def run(
    sketches: Path,
    photos: Path,
    output: Path,
    options: MatchOptions,
    *,
    model: ModelSpec | None = None,
    device: str = "auto",
    overwrite: bool = True,
    progress: Progress = SILENT,
) -> MatchResult:
    """Rank the photos of the feature store `photos` for each sketch of the feature store `sketches`.

    The two may be one file. Nothing is computed where `output` holds just that already.

    Args:
        model: the network, for relation scores; None: where the stores say it lies.
        progress: told the number of pairs, and of those just ranked.

    Raises:
        StoreError: the stores were made by different models, or without what `options.by` needs.
    """
    with open_features(sketches) as all_sketches, open_features(photos) as all_photos:
        queries, gallery = _of(all_sketches, SKETCH, "sketch"), _of(all_photos, PHOTO, "photo")
        _check(queries, gallery, options, model)
        if sketches != photos:
            _warn_of_others(all_sketches, queries, "sketches")
            _warn_of_others(all_photos, gallery, "photos")
        key = key_of(queries.header, gallery.header, options)
        if finished(output, "ranking", key):
            return MatchResult(output, False)
        check_target(output, "ranking", key, overwrite)
        scorer = None if options.by == "ret" else _scorer(queries, gallery, model, device)
        depth = min(options.depth or len(gallery.items), len(gallery.items))
        provenance = {
            "argv": sys.argv[1:],
            "versions": versions(),
            "sketches": str(sketches),
            "photos": str(photos),
            "model": gallery.header.provenance.get("model"),
            "inputs": [queries.header.run_key, gallery.header.run_key],
            **vars(options),
        }
        note(f"ranking {len(gallery.items)} photos for {len(queries.items)} sketches by {options.by}")
        progress.start(len(queries.items) * len(gallery.items))
        with RankingWriter(output, key, provenance, queries.items, gallery.items, depth) as store:
            ranker = _Ranker(queries, gallery, options, scorer)
            progress(store.rows * len(gallery.items))
            for start in range(store.rows, len(queries.items), QUERIES_AT_ONCE):
                stop = min(start + QUERIES_AT_ONCE, len(queries.items))
                indices, scores = ranker.rank(start, stop, progress)
                store.write(start, indices[:, :depth], scores[:, :depth])
            store.finish()
    return MatchResult(output, True)


def key_of(sketches: Header, photos: Header, options: MatchOptions) -> str:
    """Run key of a ranking; a shortlist matters to a cascade alone."""
    values = {k: v for k, v in vars(options).items() if k != "shortlist" or options.by == "cascade"}
    return run_key(stage="ranking", sketches=sketches.run_key, photos=photos.run_key, **values)


def is_done(sketches: Path, photos: Path, output: Path, options: MatchOptions) -> bool:
    """Whether `output` already holds the ranking of these two stores."""
    with open_features(sketches) as queries, open_features(photos) as gallery:
        return finished(output, "ranking", key_of(queries.header, gallery.header, options))


def _of(features: Features, modality: int, name: str) -> Features:
    chosen = features.take(features.items.modality == modality)
    if not len(chosen.items):
        raise StoreError(f"{features.path}: holds no {name}", f"zse embed --modality {name} says what the pictures are")
    return chosen


def no_relation(model: str) -> StoreError:
    return StoreError(f"{model} has no relation network", "rank with --by ret")


def _warn_of_others(features: Features, chosen: Features, name: str) -> None:
    """Single pictures of the other modality in a store that was given for one: perhaps they were mistaken for it."""
    others = len(features.items) - len(chosen.items)
    if others and features.header.provenance.get("source") == "pictures":
        warn(f"{features.path}: {others} of its {len(features.items)} pictures are no {name} and take no part")


def _check(queries: Features, gallery: Features, options: MatchOptions, model: ModelSpec | None) -> None:
    ours, theirs = queries.header.provenance, gallery.header.provenance
    same = all(ours.get(k) == theirs.get(k) for k in ("weights", "preprocess")) and queries.width == gallery.width
    if not same or (not ours.get("weights") and ours.get("model") != theirs.get("model")):
        raise StoreError(
            f"{queries.path} and {gallery.path} were made by different models",
            f"embed both with the same --model (now {ours.get('model')} and {theirs.get('model')})",
        )
    if model is not None and (model.weights_hash() or model.text) != (theirs.get("weights") or theirs.get("model")):
        raise StoreError(
            f"{model.text}: is not the model that made {gallery.path}",
            "leave --model out: the stores name theirs; or embed again with this one",
        )
    if options.by != "ret" and not (queries.has_tokens and gallery.has_tokens and ours.get("relation")):
        raise no_relation(str(ours.get("model")))
    if options.center and min(len(queries.items), len(gallery.items)) < CENTRE_FROM:
        raise UsageError(
            f"--center needs the means of at least {CENTRE_FROM} sketches and {CENTRE_FROM} photos",
            "leave it out for a single picture",
        )


def _scorer(queries: Features, gallery: Features, model: ModelSpec | None, device: str) -> Any:
    """The relation network that made the features."""
    from zsecli.model.embedder import NetworkEmbedder, resolve_device
    from zsecli.model.load import load
    from zsecli.retrieval.relation import RelationScorer

    made_by = gallery.header.provenance
    spec = model or ModelSpec.parse(made_by["model"])
    if spec.weights_hash() != made_by["weights"]:
        raise StoreError(f"{spec.text}: is no longer the model that made {gallery.path}", "embed again")
    embedder = load(spec, device)
    assert isinstance(embedder, NetworkEmbedder)
    return RelationScorer(embedder.network, resolve_device(device), queries, gallery)


class _Ranker:
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
            advance(int((~counts).sum()))
            return self._ordered(self.scorer.score(start, stop, counts, advance))
        queries = unit(self.queries, self.queries.read("ret", slice(start, stop)) - self.query_mean)
        indices, scores = self._ordered(np.where(counts, queries @ self.photos.T, np.nan))
        if self.options.by == "cascade":
            self._rerank(start, stop, indices, scores, advance)
        advance(int((indices < 0).sum()) if self.options.by == "cascade" else counts.size)
        return indices, scores

    def _ordered(self, scores: Scores) -> tuple[Ints, Scores]:
        """Scores (B, G), NaN where a pair does not count -> gallery rows in order, and their scores."""
        alike = scores[:, self.first]  # what rounding makes of one and the same photo depends on its column
        scores = np.where(np.isnan(scores) | np.isnan(alike), scores, alike)
        indices = order(np.where(np.isnan(scores), -np.inf, scores))
        scores = np.take_along_axis(scores, indices, 1)
        indices[np.isnan(scores)] = -1
        return indices, scores

    def _rerank(self, start: int, stop: int, indices: Ints, scores: Scores, advance: Callable[[int], None]) -> None:
        """Put the first `shortlist` photos of every row in the order of their relation scores, and those in place.

        The others keep their order; their cosines move below every relation score, to -3 ... -1.
        """
        best = indices[:, : self.options.shortlist]
        wanted = np.zeros((stop - start, len(self.photos) + 1), bool)  # the last column takes the -1
        np.put_along_axis(wanted, best, True, 1)
        wanted = wanted[:, :-1]
        relation = self.scorer.score(start, stop, wanted, advance)
        cut = best.shape[1]
        indices[:, :cut], scores[:, :cut] = (part[:, :cut] for part in self._ordered(relation))
        scores[:, cut:] -= 2
        advance(int((indices[:, cut:] >= 0).sum()))


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
