"""A ranking store -> every metric of a split. It reads no model and no picture."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsecli.data.splits import Split
from zsecli.data.synonyms import shared
from zsecli.errors import UsageError, ZseError
from zsecli.evaluate.intervals import KIND, Interval, confidence_interval
from zsecli.evaluate.metrics import Found, mean_name, metric_of_each, needs_depth
from zsecli.evaluate.protocols import AT_A_TIME, SPLITS, Protocol, ask, members
from zsecli.retrieval.order import tied
from zsecli.store.items import SEEN
from zsecli.store.ranking import Ranking, open_ranking

ABOUT = ("model", "by", "shortlist", "ignore_same", "center", "precision", "ann", "recall")  # of a ranking's provenance


@dataclass
class ProtocolReport:
    """One protocol's results.

    per_query: metric -> (Q',) float64, for the queries in `queries`. classes: their class names. clusters: the names
    of their classes or objects, whichever is `protocol.cluster`. intervals: metric -> 95 % interval of the mean for
    the choice of clusters; None where there is one alone.
    without: queries left out because no relevant photo is in their gallery. photos: gallery size, mean over queries.
    left_out: metrics that the ranking is too short for. per_query is empty where no query has a relevant photo.
    perfect: whether every photo is relevant to every query.
    digest: of the pictures and of what is compared in them, the same where two rankings answer the same question.
    """

    protocol: Protocol
    queries: list[str]
    classes: list[str]
    clusters: list[str]
    per_query: dict[str, NDArray[np.float64]]
    intervals: dict[str, Interval | None]
    without: int
    photos: float
    left_out: list[str]
    perfect: bool
    digest: str

    def means(self) -> dict[str, float]:
        """Mean over queries, under the mean's name."""
        return {mean_name(name): float(values.mean()) for name, values in self.per_query.items()}

    def per_class(self) -> dict[str, dict[str, float]]:
        """class -> number of queries and the mean of each metric over them."""
        rows: dict[str, list[int]] = defaultdict(list)
        for i, name in enumerate(self.classes):
            rows[name].append(i)
        return {
            name: {"queries": float(len(at)), **{mean_name(m): float(v[at].mean()) for m, v in self.per_query.items()}}
            for name, at in sorted(rows.items())
        }

    def each(self) -> list[dict[str, Any]]:
        """Every query with its class, its cluster and its metrics."""
        return [
            {
                "query": query,
                "class": label,
                self.protocol.cluster: cluster,
                **{name: float(values[i]) for name, values in self.per_query.items()},
            }
            for i, (query, label, cluster) in enumerate(zip(self.queries, self.classes, self.clusters, strict=True))
        ]


@dataclass
class Report:
    """All protocols of a split on one ranking.

    tied: entries whose score equals a neighbour's. notes: what a reader must know beside the numbers.
    """

    split: str
    ranking: Path
    about: dict[str, Any]
    protocols: list[ProtocolReport]
    tied: int
    entries: int
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self, queries: bool) -> dict[str, Any]:
        """Plain data for JSON: means, intervals and classes of every protocol; every query too where asked for."""
        return {
            "split": self.split,
            "ranking": str(self.ranking),
            **self.about,
            **self.settings,
            "tied_entries": self.tied,
            "entries": self.entries,
            "notes": self.notes,
            "protocols": {
                p.protocol.name: {
                    "title": p.protocol.title,
                    "queries": len(p.queries),
                    "queries_without_relevant_photo": p.without,
                    "photos_per_query": p.photos,
                    "cluster": p.protocol.cluster,
                    "clusters": len({*p.clusters}),
                    "metrics_left_out": p.left_out,
                    "every_photo_is_relevant": p.perfect,
                    "mean": {
                        name: {"value": value, "interval": list(interval) if interval else None}
                        for (name, value), interval in zip(p.means().items(), p.intervals.values(), strict=True)
                    },
                    "per_class": p.per_class(),
                    **({"per_query": p.each()} if queries else {}),
                }
                for p in self.protocols
            },
        }


def evaluate_ranking(ranking: Path, split: str, *, trained: Collection[str] | None = None) -> Report:
    """Evaluate a finished ranking under a split.

    Args:
        trained: names of the classes that the model saw in another data set; `zs-cross` reports without them too.

    Raises:
        UsageError: unknown split, or a ranking made for another one. ZseError: no report of the split has a query
            with a relevant photo, or the ranking is too short for every metric of one.
    """
    asked, notes = Split.parse(split), []
    with open_ranking(ranking) as opened:
        origins = opened.header.provenance.get("origins", [{}, {}])
        _check(opened, asked, origins)
        labels = opened.query.label, opened.gallery.label
        classes = {label.names[c] for label in labels for c in np.unique(label.codes) if c >= 0}
        known = shared(trained, sorted(classes)) if trained is not None else {}
        reports = []
        for protocol in SPLITS[asked.family]:
            if protocol.novel and trained is None:
                continue
            if protocol.novel and not any(side.any() for side in members(opened, protocol, known)):
                notes.append(f"{protocol.name}: every class was seen in training")
                continue
            reports.append(_report_protocol(opened, protocol, known))
        notes += _note_unanswered(ranking, reports)
        ties, entries = _ties(opened)
        about = {k: opened.header.provenance.get(k) for k in ABOUT}
        if about["recall"] is not None:
            notes.append(f"the shortlist is approximate: it holds {about['recall']:.1%} of the exact one")
        same = {k: v for k, v in origins[0].items() if origins[1].get(k) == v}
        about = {"data": same.get("data"), "benchmark": same.get("benchmark")} | about
    settings: dict[str, Any] = {"interval": "95 %", "interval_kind": KIND}
    if trained is not None:
        settings["seen_in_training"] = known
    return Report(asked.name, ranking, about, reports, ties, entries, settings, notes)


def _note_unanswered(ranking: Path, reports: list[ProtocolReport]) -> list[str]:
    """A note for each report without a query, which does not cost the others of its split; ZseError if none has one."""
    if not any(report.queries for report in reports):
        raise ZseError(
            f"{ranking}: no query has a relevant photo under {' and '.join(one.protocol.name for one in reports)}",
            "look at its classes and instances with zse inspect; pictures seen in training do not count",
        )
    return [
        f"{report.protocol.name}: no query has a relevant photo, so nothing is measured"
        for report in reports
        if not report.queries
    ]


def _check(ranking: Ranking, split: Split, origins: list[dict[str, str]]) -> None:
    """UsageError where the ranking was made from other pictures than the split asks for."""
    needs = Split("zs-inter", split.partition) if split.selection == "generalized" else split  # of the sketches
    for origin, wanted, plural in zip(origins, (needs, split), ("sketches", "photos"), strict=True):
        if not wanted.answered_by(origin):
            kind = f"{origin.get('selection', 'given')} ones"
            kind += f" of {origin['partition']}" if origin.get("partition") else ""
            raise UsageError(
                f"{ranking.path}: its {plural} are the {kind}, not those of {split.name}",
                f"zse match --split {split.name}",
            )
    if split.family == "generalized" and not (ranking.gallery.part == SEEN).any():
        raise UsageError(
            f"{ranking.path}: its gallery has no photo of a seen class", f"zse match --split {split.name} has them"
        )


@dataclass
class QueryValues:
    """The Q' queries of a protocol that have a relevant photo.

    rows: (Q',) int64, of the queries. relevant, photos, listed: (Q',) int64, how many photos are right, how many count,
    and how many of those the ranking lists. values: metric -> (Q',) float64, also where a cut ranking does not
    determine it. without: queries without a relevant photo.
    """

    rows: NDArray[np.int64]
    relevant: NDArray[np.int64]
    photos: NDArray[np.int64]
    listed: NDArray[np.int64]
    values: dict[str, NDArray[np.float64]]
    without: int


def measure_protocol(ranking: Ranking, protocol: Protocol, trained: Collection[str] = ()) -> QueryValues:
    """Every metric of a protocol for every query, block by block of the ranking.

    Args:
        trained: as in `zsecli.evaluate.protocols.ask`.
    """
    functions = {name: metric_of_each(name) for name in protocol.metrics}
    values = {name: [np.empty(0)] for name in functions}
    about = [np.empty((4, 0), np.int64)]
    for asked in ask(ranking, protocol, trained):
        ranks, listed = asked.ranks()
        counts = ([photos.count for photos in side] for side in (asked.right, asked.counts))
        about.append(np.array([asked.rows, *counts, listed]))
        answered = np.flatnonzero(about[-1][1])
        if len(answered):
            found = Found([ranks[i] for i in answered], about[-1][1, answered])
            for name, function in functions.items():
                values[name].append(function(found))
    table = np.hstack(about)
    rows, relevant, photos, listed = table[:, table[1] > 0]
    by_name = {name: np.concatenate(parts) for name, parts in values.items()}
    return QueryValues(rows, relevant, photos, listed, by_name, table.shape[1] - len(rows))


def _report_protocol(ranking: Ranking, protocol: Protocol, trained: Collection[str]) -> ProtocolReport:
    """The report of one protocol, without a metric where no query has a relevant photo."""
    found = measure_protocol(ranking, protocol, trained)
    # a cut ranking does not say where the photos behind it stand
    needed = {name: np.minimum(needs_depth(name) or found.photos, found.photos) for name in protocol.metrics}
    short = [name for name, depth in needed.items() if (found.listed < depth).any()]
    arrays = {name: values for name, values in found.values.items() if name not in short and len(values)}
    if len(found.rows) and not arrays:
        raise ZseError(
            f"{ranking.path}: keeps {ranking.depth} photos a query, too few for {protocol.name}",
            "rank again without --depth",
        )
    label, column = ranking.query.label, getattr(ranking.query, protocol.relevant)
    clusters = column.codes[found.rows]  # a relevant photo shares it, so none is -1
    return ProtocolReport(
        protocol,
        [ranking.query.id[r] for r in found.rows],
        [label.names[label.codes[r]] if label.codes[r] >= 0 else "" for r in found.rows],
        [column.names[code] for code in clusters],
        arrays,
        {name: confidence_interval(values, clusters) for name, values in arrays.items()},
        found.without,
        float(found.photos.mean()) if len(found.photos) else 0.0,
        short,
        bool(len(found.rows) and (found.relevant == found.photos).all()),
        _digest(ranking, protocol, trained),
    )


def _digest(ranking: Ranking, protocol: Protocol, trained: Collection[str]) -> str:
    """SHA-256 of who is asked and who is looked through, by content, and of what of them is compared."""
    sides = ranking.query, ranking.gallery
    columns: list[str] = [c for c in (protocol.relevant, protocol.within) if c]
    if (same := ranking.ignore_same) and all((getattr(items, same).codes >= 0).any() for items in sides):
        columns.append(same)
    found = hashlib.sha256(repr((protocol.name, columns)).encode())
    for items, mask in zip(sides, members(ranking, protocol, trained), strict=True):
        named = [getattr(items, c) for c in columns]
        rows = [
            (items.sha256[row].tobytes(), *(c.names[c.codes[row]] if c.codes[row] >= 0 else None for c in named))
            for row in np.flatnonzero(mask)
        ]
        found.update(repr(sorted(rows, key=repr)).encode())
    return found.hexdigest()


def _ties(ranking: Ranking) -> tuple[int, int]:
    """(tied entries, entries that were compared) of a ranking.

    Behind a cascade's shortlist the stored scores are shifted cosines, which rounding makes equal: they do not count.
    """
    about, depth = ranking.header.provenance, ranking.depth
    compared = min(about.get("shortlist", depth), depth) if about.get("by") == "cascade" else depth
    total = entries = 0
    step = max(1, AT_A_TIME // max(1, depth))
    for start in range(0, len(ranking.query), step):
        scores = ranking.scores[start : start + step][:, :compared]
        total += tied(scores)
        entries += int(np.count_nonzero(np.isfinite(scores)))
    return total, entries
