"""What papers report on the standard splits, for `zse evaluate --compare`: published.csv."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from zsecli.data.splits import PUBLISHED


@dataclass(frozen=True)
class Figure:
    """A published mean. stated: whether `metric` is the full name of what was computed, or just the paper's word.

    paper, venue, year, table: where it stands; empty as far as that is not established.
    """

    method: str
    metric: str
    value: float
    stated: bool
    paper: str
    venue: str
    year: str
    table: str

    @property
    def name(self) -> str:
        return self.metric if self.stated else f"{self.metric} (formula not stated)"

    @property
    def source(self) -> str:
        """Where the figure stands, and what of that is not established."""
        if not self.paper:
            return "reported elsewhere; paper not established"
        return f"{self.paper}, {self.venue} {self.year}, {self.table or 'table not established'}"


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
