"""The results of an evaluation as plain data: metrics of every query, their means, intervals and comparisons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from zsecli.evaluate.intervals import Interval, PairedTest
from zsecli.evaluate.metrics import mean_name
from zsecli.evaluate.protocols import Protocol
from zsecli.evaluate.published import Published

Table = tuple[str, list[str], list[list[str]]]  # caption, columns, rows


@dataclass(frozen=True, kw_only=True)
class ProtocolReport:
    """Results of one protocol on one ranking, for the Q' queries that have a relevant photo."""

    protocol: Protocol
    queries: list[str]
    """(Q',) ids of the sketches."""
    classes: list[str]
    """(Q',) class name of each query, "" where it has none."""
    clusters: list[str]
    """(Q',) class or object of each query, whichever `protocol.cluster` names: the unit that intervals resample."""
    per_query: dict[str, NDArray[np.float64]]
    """Metric name -> (Q',) values. Empty where no query has a relevant photo."""
    intervals: dict[str, Interval | None]
    """Metric name -> 95 % interval of its mean over clusters; None where there is a single cluster."""
    queries_without_relevant: int
    """Queries left out because their gallery holds no relevant photo."""
    photos_per_query: float
    """Gallery size, mean over queries."""
    omitted_metrics: list[str]
    """Metrics for which the ranking is too short."""
    all_photos_relevant: bool
    """Whether every photo is relevant to every query, which makes any ranking perfect."""
    content_digest: str
    """Hash of the pictures and labels that are compared; equal where two rankings answer the same question."""

    def mean_values(self) -> dict[str, float]:
        """Mean of each metric over queries, by the name of the mean."""
        return {mean_name(name): float(values.mean()) for name, values in self.per_query.items()}

    def class_means(self) -> dict[str, dict[str, float]]:
        """Class name -> its number of queries and the mean of each metric over them, classes in sorted order."""
        rows_by_class: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(self.classes):
            rows_by_class[name].append(row)
        means = {}
        for name, rows in sorted(rows_by_class.items()):
            means[name] = {"queries": float(len(rows))}
            for metric, values in self.per_query.items():
                means[name][mean_name(metric)] = float(values[rows].mean())
        return means

    def query_records(self) -> list[dict[str, Any]]:
        """One record a query: its id, class, cluster and metrics."""
        records: list[dict[str, Any]] = []
        for row, query in enumerate(self.queries):
            record: dict[str, Any] = {"query": query, "class": self.classes[row]}
            record[self.protocol.cluster] = self.clusters[row]
            for name, values in self.per_query.items():
                record[name] = float(values[row])
            records.append(record)
        return records

    def to_dict(self, with_queries: bool) -> dict[str, Any]:
        """Plain data for JSON; with every query's metrics if `with_queries`."""
        means: dict[str, Any] = {}
        for (name, value), interval in zip(self.mean_values().items(), self.intervals.values(), strict=True):
            means[name] = {"value": value, "interval": list(interval) if interval else None}
        document = {
            "title": self.protocol.title,
            "queries": len(self.queries),
            "queries_without_relevant_photo": self.queries_without_relevant,
            "photos_per_query": self.photos_per_query,
            "cluster": self.protocol.cluster,
            "clusters": len(set(self.clusters)),
            "metrics_left_out": self.omitted_metrics,
            "every_photo_is_relevant": self.all_photos_relevant,
            "mean": means,
            "per_class": self.class_means(),
        }
        if with_queries:
            document["per_query"] = self.query_records()
        return document


@dataclass(frozen=True, kw_only=True)
class RankingReport:
    """Results of all protocols of a split on one ranking."""

    split: str
    ranking: Path
    provenance: dict[str, Any]
    """Data set, model, scoring rule and further options that made the ranking."""
    protocols: list[ProtocolReport]
    tied_entries: int
    """Entries whose score equals that of a neighbour in the ranking."""
    entries: int
    """Entries whose scores were compared."""
    settings: dict[str, Any] = field(default_factory=dict)
    """How the metrics and intervals were computed."""
    notes: list[str] = field(default_factory=list)
    """What a reader must know beside the numbers."""

    def to_dict(self, with_queries: bool) -> dict[str, Any]:
        """Plain data for JSON; with every query's metrics if `with_queries`."""
        return {
            "split": self.split,
            "ranking": str(self.ranking),
            **self.provenance,
            **self.settings,
            "tied_entries": self.tied_entries,
            "entries": self.entries,
            "notes": self.notes,
            "protocols": {report.protocol.name: report.to_dict(with_queries) for report in self.protocols},
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One metric of one protocol: the means of all rankings, and each further ranking tested against the first."""

    protocol: str
    metric: str
    queries: int
    cluster: str
    """What queries were grouped by for interval and test: class or object."""
    clusters: int
    """Number of such groups."""
    means: list[float]
    against_first: list[PairedTest]


class Verdict(NamedTuple):
    """Whether one thing did better than another in a test."""

    subject: str
    control: str
    """What the subject is compared with."""
    measured: str
    """How, or where: `by deletion`, `where photos are mirrored`."""
    is_better: bool


class ExtraResults(Interface):
    """Results of another kind that a report appends, as the assessment of explanations."""

    @property
    def sources(self) -> Sequence[str]:
        """The subjects of the verdicts."""

    def verdicts(self) -> Iterable[Verdict]: ...

    def tables(self) -> Iterable[Table]: ...

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that one evaluation reports."""

    reports: list[RankingReport]
    """One a ranking; the first is compared with each further one."""
    comparisons: list[Comparison] = field(default_factory=list)
    published: Published | None = None
    """Figures of papers on the same data set and split."""
    explanations: ExtraResults | None = None
    seed: int = 0
    """Random seed of the tests in `comparisons`."""

    def ranking_titles(self) -> list[str]:
        """A name for each ranking: its model and scoring; the name of its file where these are not unique."""
        names = [_describe_scoring(report.provenance) for report in self.reports]
        titles = []
        for name, report in zip(names, self.reports, strict=True):
            titles.append(name if names.count(name) == 1 else report.ranking.name)
        return titles


def _describe_scoring(provenance: dict[str, Any]) -> str:
    """`small cascade centred`, say."""
    words = [str(provenance["model"]), str(provenance["by"])]
    if provenance["center"]:
        words.append("centred")
    if provenance["ann"]:
        words.append("approximate")
    if provenance["precision"] not in (None, "fp32"):
        words.append(provenance["precision"])
    return " ".join(words)
