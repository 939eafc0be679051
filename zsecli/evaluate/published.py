"""What papers report on the standard splits, for `zse evaluate --compare`: published.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Figure:
    """A published mean. stated: whether `metric` is the full name of what was computed, or just the paper's word."""

    method: str
    metric: str
    value: float
    stated: bool


def published(benchmark: str, partition: str) -> list[Figure]:
    """The figures on the unseen classes of a benchmark's split, `25` of `sketchy` say; none where none is known."""
    with (files("zsecli.evaluate") / "published.csv").open(encoding="utf-8") as file:
        return [
            Figure(row["method"], row["metric"], float(row["value"]), row["stated"] == "yes")
            for row in csv.DictReader(file)
            if (row["data"], row["partition"]) == (benchmark, partition)
        ]
