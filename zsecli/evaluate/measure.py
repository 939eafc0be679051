"""Metrics of a ranking store under a protocol. No model and no picture is read."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from zsecli.arrays import Floats64, Ints
from zsecli.data.items import Column
from zsecli.errors import ZseError
from zsecli.evaluate.intervals import confidence_interval
from zsecli.evaluate.metrics import RelevantRanks, metric_function, required_depth
from zsecli.evaluate.protocols import ENTRIES_AT_ONCE, Protocol, iterate_query_blocks, select_pictures
from zsecli.evaluate.report_model import ProtocolReport
from zsecli.retrieval.order import count_tied
from zsecli.store.ranking import Ranking


@dataclass(frozen=True, kw_only=True)
class QueryMetrics:
    """Metrics of the Q' queries of a protocol that have a relevant photo."""

    rows: Ints
    """(Q',) rows of the queries in the ranking."""
    n_relevant: Ints
    """(Q',) relevant photos in the gallery of each query."""
    n_photos: Ints
    """(Q',) photos in the gallery of each query."""
    n_listed: Ints
    """(Q',) photos of that gallery which the ranking lists."""
    values: dict[str, Floats64]
    """Metric name -> (Q',), also where a truncated ranking does not determine the metric."""
    queries_without_relevant: int


def measure_queries(ranking: Ranking, protocol: Protocol, seen_classes: Collection[str] = ()) -> QueryMetrics:
    """Compute every metric of a protocol for every query, block by block of the ranking.

    Args:
        seen_classes: as in `zsecli.evaluate.protocols.iterate_query_blocks`.
    """
    metric_functions = {name: metric_function(name) for name in protocol.reported_metrics}
    values: dict[str, list[Floats64]] = {name: [np.empty(0)] for name in protocol.reported_metrics}
    columns = [np.empty((4, 0), np.int64)]
    for block in iterate_query_blocks(ranking, protocol, seen_classes):
        ranks, n_listed = block.relevant_ranks()
        n_relevant = np.array([photos.count for photos in block.relevant])
        n_photos = [photos.count for photos in block.galleries]
        columns.append(np.array([block.rows, n_relevant, n_photos, n_listed]))
        answerable = np.flatnonzero(n_relevant)
        if not len(answerable):
            continue
        relevant_ranks = RelevantRanks([ranks[i] for i in answerable], n_relevant[answerable])
        for name, compute_metric in metric_functions.items():
            values[name].append(compute_metric(relevant_ranks))
    table = np.hstack(columns)
    has_relevant = table[1] > 0
    rows, n_relevant, n_photos, n_listed = table[:, has_relevant]
    return QueryMetrics(
        rows=rows,
        n_relevant=n_relevant,
        n_photos=n_photos,
        n_listed=n_listed,
        values={name: np.concatenate(blocks) for name, blocks in values.items()},
        queries_without_relevant=int(np.count_nonzero(~has_relevant)),
    )


def measure_protocol(ranking: Ranking, protocol: Protocol, seen_classes: Collection[str] = ()) -> ProtocolReport:
    """The report of one protocol; it has no metrics where no query has a relevant photo.

    Args:
        seen_classes: as in `zsecli.evaluate.protocols.iterate_query_blocks`.

    Raises:
        ZseError: the ranking is too short for every metric of the protocol.
    """
    measured = measure_queries(ranking, protocol, seen_classes)
    omitted = [name for name in protocol.reported_metrics if not _is_determined(name, measured)]
    per_query = {}
    if len(measured.rows):
        per_query = {name: values for name, values in measured.values.items() if name not in omitted}
        if not per_query:
            raise ZseError(
                f"{ranking.path}: keeps {ranking.depth} photos a query, too few for {protocol.name}",
                "rank again without --depth",
            )
    label = ranking.query.label
    target: Column = getattr(ranking.query, protocol.relevant)
    clusters = target.codes[measured.rows]  # never -1: a relevant photo has the same code
    return ProtocolReport(
        protocol=protocol,
        queries=[ranking.query.id[row] for row in measured.rows],
        classes=[_name_or_empty(label, code) for code in label.codes[measured.rows]],
        clusters=[target.names[code] for code in clusters],
        per_query=per_query,
        intervals={name: confidence_interval(values, clusters) for name, values in per_query.items()},
        queries_without_relevant=measured.queries_without_relevant,
        photos_per_query=float(measured.n_photos.mean()) if len(measured.n_photos) else 0.0,
        omitted_metrics=omitted,
        all_photos_relevant=bool(len(measured.rows) and (measured.n_relevant == measured.n_photos).all()),
        content_digest=digest_question(ranking, protocol, seen_classes),
    )


def _is_determined(metric: str, measured: QueryMetrics) -> bool:
    """Whether the ranking is deep enough for a metric: it does not say where the photos behind its end stand."""
    depth = required_depth(metric)
    needed = measured.n_photos if depth is None else np.minimum(depth, measured.n_photos)
    return bool((measured.n_listed >= needed).all())


def _name_or_empty(column: Column, code: int) -> str:
    return column.names[code] if code >= 0 else ""


def digest_question(ranking: Ranking, protocol: Protocol, seen_classes: Collection[str] = ()) -> str:
    """SHA-256 of what a protocol asks of a ranking: the pictures on both sides by content, and the labels compared.

    Args:
        seen_classes: as in `zsecli.evaluate.protocols.iterate_query_blocks`.
    """
    sides = ranking.query, ranking.gallery
    columns: list[str] = [protocol.relevant]
    if protocol.within:
        columns.append(protocol.within)
    ignored = ranking.ignore_same
    if ignored and all((getattr(items, ignored).codes >= 0).any() for items in sides):
        columns.append(ignored)
    digest = hashlib.sha256(repr((protocol.name, columns)).encode())
    for items, mask in zip(sides, select_pictures(ranking, protocol, seen_classes), strict=True):
        labels: list[Column] = [getattr(items, column) for column in columns]
        rows: list[tuple[Any, ...]] = []
        for row in np.flatnonzero(mask):
            names = [column.names[column.codes[row]] if column.codes[row] >= 0 else None for column in labels]
            rows.append((items.sha256[row].tobytes(), *names))
        digest.update(repr(sorted(rows, key=repr)).encode())
    return digest.hexdigest()


def count_ties(ranking: Ranking) -> tuple[int, int]:
    """(tied entries, compared entries) of a ranking.

    Behind a cascade's shortlist the stored scores are shifted cosines, which rounding makes equal: they do not count.
    """
    provenance = ranking.header.provenance
    depth = compared = ranking.depth
    if provenance.get("by") == "cascade":
        compared = min(provenance.get("shortlist", depth), depth)
    ties = entries = 0
    queries_per_block = max(1, ENTRIES_AT_ONCE // max(1, depth))
    for start in range(0, len(ranking.query), queries_per_block):
        scores = ranking.scores[start : start + queries_per_block][:, :compared]
        ties += count_tied(scores)
        entries += int(np.count_nonzero(np.isfinite(scores)))
    return ties, entries
