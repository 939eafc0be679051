"""Drawings to start from: some of the shipped demo's sketches."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from zsecli.data.prepare import demo_root
from zsecli.errors import ZseError

FAMILY = "noto-font-light"


@dataclass(frozen=True)
class Example:
    """A sketch file and what it shows."""

    name: str
    file: Path


def find_examples() -> list[Example]:
    """The first sketch of each class of the demo; none where it is not installed."""
    try:
        root = demo_root()
        with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["modality"] == "sketch"]
    except (ZseError, OSError):
        return []
    found: dict[str, Example] = {}
    for row in rows:
        found.setdefault(row["class"], Example(row["concept"], root / row["path"]))
    return list(found.values())
