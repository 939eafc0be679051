"""The results of an assessment of explanations: means with intervals, what they are compared with, and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from zsecli.arrays import Floats64
from zsecli.evaluate.intervals import FEWEST, KIND, TEST, confidence_interval, sign_flip_p
from zsecli.evaluate.report_model import Table, Verdict
from zsecli.explain.faithfulness import Areas
from zsecli.explain.localization import LocalizationScores, LocalizationTable
from zsecli.vocabulary import EXPLANATION_SOURCES

SIGNIFICANCE = 0.05
NAN = float("nan")


class Mean(NamedTuple):
    """A mean over pairs; NaN where no pair has a value, and an interval of NaN where there are too few clusters."""

    value: float
    low: float
    high: float
    """The 95 % interval."""
    p: float = NAN
    """Of the hypothesis that the mean is 0."""

    @property
    def is_above_zero(self) -> bool:
        return self.value > 0 and self.p < SIGNIFICANCE


MeanTable = dict[tuple[str, str], dict[str, Mean]]
"""The means of the `LocalizationScores` of pairs, by method and by move or direction."""


class Clusters(NamedTuple):
    """How pairs are grouped for intervals and tests."""

    by: str
    """What a group has in common: class, object, picture or photo."""
    n_groups: int


@dataclass(kw_only=True)
class MethodAreas:
    """How well the order of one method's matches predicts the score (`faithfulness.Areas`), mean over pairs."""

    deletion: Mean
    insertion: Mean
    matches: float
    """Mean number of matches."""
    pairs: int


class ControlTest(NamedTuple):
    """A source of explanations against the best control."""

    control: str
    difference: Mean
    """Of PCK@10, paired over pairs."""


@dataclass(kw_only=True)
class Assessment:
    """How well the explanations of a ranking did; every mean is over pairs of pictures.

    A method is a source of explanations or a control.
    """

    pairs: int
    ground_truth: str
    """The pairs with known correspondences."""
    clusters: dict[str, Clusters] = field(default_factory=dict)
    """Of areas, places and keypoints."""
    areas: dict[str, MethodAreas] = field(default_factory=dict)
    """By method."""
    places: MeanTable = field(default_factory=dict)
    """(method, move) -> PCK and cycle consistency, where the truth is known."""
    keypoints: MeanTable = field(default_factory=dict)
    """(method, direction) -> the same of keypoints that people marked."""
    control_tests: dict[tuple[str, str], ControlTest] = field(default_factory=dict)
    """By source and move."""
    sources: Sequence[str] = tuple(EXPLANATION_SOURCES)
    """The sources that were tested: those that explain the network."""

    def verdicts(self) -> Iterator[Verdict]:
        """What each source is better than, at p < .05, not corrected for the number of tests."""
        for source in self.sources:
            if source in self.areas:
                for name in Areas._fields:
                    mean: Mean = getattr(self.areas[source], name)
                    yield Verdict(
                        subject=source, control="random orders", measured=f"by {name}", is_better=mean.is_above_zero
                    )
            for (tested, move), test in self.control_tests.items():
                if tested == source:
                    yield Verdict(
                        subject=source,
                        control=test.control,
                        measured=f"where photos are {move}",
                        is_better=test.difference.is_above_zero,
                    )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a mean has a value and an interval, null where nothing has a value."""
        clusters = {}
        for name, group in self.clusters.items():
            clusters[name] = {"cluster": group.by, "clusters": group.n_groups}
        areas = {}
        for method, method_areas in self.areas.items():
            areas[method] = {
                "deletion": _mean_to_dict(method_areas.deletion),
                "insertion": _mean_to_dict(method_areas.insertion),
                "matches": method_areas.matches,
                "pairs": method_areas.pairs,
            }
        tests = []
        for (source, move), test in self.control_tests.items():
            difference = _mean_to_dict(test.difference)
            tests.append({"source": source, "move": move, "control": test.control, "difference": difference})
        return {
            "pairs": self.pairs,
            "known": self.ground_truth,
            "interval_kind": KIND,
            "test": TEST,
            "clusters": clusters,
            "areas": areas,
            "places": _rows_to_dicts(self.places, "move"),
            "keypoints": _rows_to_dicts(self.keypoints, "direction"),
            "against_controls": tests,
        }

    def tables(self) -> Iterator[Table]:
        """Caption, columns and rows of each table."""
        if self.areas:
            yield self._make_area_table()
        if self.places:
            yield self._make_pck_table("places", f"PCK@5 / PCK@10, {self.ground_truth}", self.places)
        if self.keypoints:
            yield self._make_pck_table("keypoints", "keypoints", self.keypoints)
        if self.control_tests:
            yield self._make_control_table()

    def _make_area_table(self) -> Table:
        rows = []
        for method, areas in self.areas.items():
            deletion = _format_mean(areas.deletion, "+.4f")
            insertion = _format_mean(areas.insertion, "+.4f")
            rows.append([method, deletion, insertion, f"{areas.matches:.0f}"])
        caption = f"areas between the curves of an explanation and of random orders, {self.pairs} pairs"
        return caption + self._describe_intervals("areas"), ["way", "deletion", "insertion", "matches"], rows

    def _make_pck_table(self, name: str, caption: str, means: MeanTable) -> Table:
        """A row a method and a column a move or direction."""
        methods = list(dict.fromkeys(method for method, _ in means))
        columns = list(dict.fromkeys(column for _, column in means))
        rows = []
        for method in methods:
            row = [method]
            for column in columns:
                cell = means[method, column]
                pck5 = f"{cell['pck5'].value:.3f}"
                pck10 = _format_mean(cell["pck10"])
                row.append(f"{pck5} / {pck10}")
            rows.append(row)
        return caption + self._describe_intervals(name), ["way", *columns], rows

    def _make_control_table(self) -> Table:
        rows = []
        for (source, move), test in self.control_tests.items():
            difference = _format_mean(test.difference, "+.3f")
            rows.append([source, move, test.control, difference, f"{test.difference.p:.3f}"])
        caption = f"PCK@10 less the best control's{self._describe_intervals('places')}; p by {TEST}"
        return caption, ["source", "move", "best control", "difference", "p"], rows

    def _describe_intervals(self, name: str) -> str:
        """How the intervals of a table were computed."""
        clusters = self.clusters[name]
        if clusters.n_groups < FEWEST:
            return f"; no interval, as one {clusters.by} alone does not show how much they differ"
        return f"; 95 % intervals over {clusters.n_groups} groups of pairs of one {clusters.by}: {KIND}"


def average_table(tables: Sequence[LocalizationTable], clusters: Sequence[str]) -> MeanTable:
    """The means of the tables of pairs, by method and move; `clusters`: of each pair."""
    keys: dict[tuple[str, str], None] = {}  # a set that keeps its order
    for table in tables:
        keys |= dict.fromkeys(table)
    means: MeanTable = {}
    for key in keys:
        rows = []
        row_clusters = []
        for table, cluster in zip(tables, clusters, strict=True):
            if key in table:
                rows.append(table[key])
                row_clusters.append(cluster)
        means[key] = {}
        for name, values in zip(LocalizationScores._fields, zip(*rows, strict=True), strict=True):
            means[key][name] = average(values, row_clusters, bounds=(0.0, 1.0))
    return means


def compare_with_zero(differences: Sequence[float] | Floats64, clusters: Sequence[str], seed: int) -> Mean:
    """The mean of differences between -1 and 1, with its p value."""
    values = np.asarray(differences, np.float64)
    mean = average(values, clusters, bounds=(-1.0, 1.0))
    has_value = np.isfinite(values)
    if not has_value.any():
        return mean
    p = sign_flip_p(values[has_value], np.array(clusters, object)[has_value], seed=seed)
    return mean._replace(p=p)


def average(values: Sequence[float] | Floats64, clusters: Sequence[str], bounds: tuple[float, float]) -> Mean:
    """The mean over the pairs that have a value; NaN where none has."""
    values = np.asarray(values, np.float64)
    has_value = np.isfinite(values)
    if not has_value.any():
        return Mean(NAN, NAN, NAN)
    interval = confidence_interval(values[has_value], np.array(clusters, object)[has_value], bounds=bounds)
    low, high = interval or (NAN, NAN)
    return Mean(float(values[has_value].mean()), low, high)


def _rows_to_dicts(means: MeanTable, column: str) -> list[dict[str, Any]]:
    rows = []
    for (method, value), by_name in means.items():
        row: dict[str, Any] = {"way": method, column: value}
        for name, mean in by_name.items():
            row[name] = _mean_to_dict(mean)
        rows.append(row)
    return rows


def _mean_to_dict(mean: Mean) -> dict[str, Any] | None:
    if np.isnan(mean.value):
        return None
    interval = None if np.isnan(mean.low) else [mean.low, mean.high]
    document: dict[str, Any] = {"value": mean.value, "interval": interval}
    if not np.isnan(mean.p):
        document["p"] = mean.p
    return document


def _format_mean(mean: Mean, number_format: str = ".3f") -> str:
    value, low, high = (format(number, number_format) for number in mean[:3])
    if np.isnan(mean.low):
        return value
    return f"{value} ({low} to {high})"
