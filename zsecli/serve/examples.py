"""Drawings to start from: some of the shipped demo's sketches."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from zsecli.data.sources.demo import demo_folder
from zsecli.errors import ZseError

SOURCE = "noto-font-light"  # looks most like a drawing by a pen
CONCEPTS = ("rooster", "butterfly", "hot beverage", "key", "sailboat", "tulip", "Christmas tree", "open book")


@dataclass(frozen=True)
class Example:
    """A sketch file and what it shows."""

    name: str
    file: Path


def find_examples() -> list[Example]:
    """Sketches of the demo, in the order of CONCEPTS; none where it is not installed."""
    try:
        root = demo_folder()
        with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["modality"] == "sketch"]
    except (ZseError, OSError):
        return []
    files = {row["concept"]: root / row["path"] for row in rows if row["source"] == SOURCE}
    return [Example(concept, files[concept]) for concept in CONCEPTS if concept in files]
