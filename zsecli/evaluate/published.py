"""What papers report on the standard splits, for `zse evaluate --compare`: published.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from zsecli.data.splits import PUBLISHED


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A published mean of a metric, and its source; "" where that is not established."""

    method: str
    metric: str
    value: float
    stated: bool
    """Whether `metric` is the full name of what was computed, or just the paper's word."""
    paper: str
    venue: str
    year: str
    table: str

    @property
    def name(self) -> str:
        return self.metric if self.stated else f"{self.metric} (formula not stated)"

    @property
    def source(self) -> str:
        """The source of the figure, and which parts of it are not established."""
        if not self.paper:
            return "reported elsewhere; paper not established"
        return f"{self.paper}, {self.venue} {self.year}, {self.table or 'table not established'}"


@dataclass(frozen=True)
class Published:
    """Figures on the unseen classes of a benchmark's split."""

    name: str
    """The benchmark and the number of its unseen classes, as `sketchy-25`."""
    counts: tuple[int, int]
    """Numbers of sketches and photos."""
    figures: list[Figure]


def find_published(name: str) -> Published | None:
    """Published results of `zs-inter` on a benchmark's split such as `sketchy-25`; None where none are known."""
    data, _, partition = name.partition("-")
    with (files("zsecli.evaluate") / "published.csv").open(encoding="utf-8") as file:
        figures = [
            Figure(
                method=row["method"],
                metric=row["metric"],
                value=float(row["value"]),
                stated=row["stated"] == "yes",
                paper=row["paper"],
                venue=row["venue"],
                year=row["year"],
                table=row["table"],
            )
            for row in csv.DictReader(file)
            if (row["data"], row["partition"]) == (data, partition)
        ]
    return Published(name, PUBLISHED[data, partition], figures) if figures else None
