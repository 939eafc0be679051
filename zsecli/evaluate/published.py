"""What papers report on the standard splits, for `zse evaluate --compare`: published.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from zsecli.data.splits import PUBLISHED


@dataclass(frozen=True)
class Figure:
    """A published mean. stated: whether `metric` is the full name of what was computed, or just the paper's word."""

    method: str
    metric: str
    value: float
    stated: bool

    @property
    def name(self) -> str:
        return self.metric if self.stated else f"{self.metric} (formula not stated)"


@dataclass(frozen=True)
class Published:
    """Figures on the unseen classes of a benchmark's split, `sketchy-25` say, of (sketches, photos)."""

    name: str
    counts: tuple[int, int]
    figures: list[Figure]


def published(name: str) -> Published | None:
    """What is known of `zs-inter` on a benchmark's split, or None."""
    data, _, partition = name.partition("-")
    with (files("zsecli.evaluate") / "published.csv").open(encoding="utf-8") as file:
        figures = [
            Figure(row["method"], row["metric"], float(row["value"]), row["stated"] == "yes")
            for row in csv.DictReader(file)
            if (row["data"], row["partition"]) == (data, partition)
        ]
    return Published(name, PUBLISHED[data, partition], figures) if figures else None
