"""The classes of the benchmarks with their parts in the standard splits: tables/NAME.csv, one row a class."""

from __future__ import annotations

import csv
from importlib.resources import files

from zsecli.data.synonyms import class_key


class Classes:
    """Names and parts of a benchmark's classes.

    Attributes:
        parts: split -> class -> "seen" or "unseen"; the first split is the benchmark's own.
        names: the classes, sorted.
    """

    def __init__(self, benchmark: str) -> None:
        with (files("zsecli.data.sources") / "tables" / f"{benchmark}.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        self.names = [row["class"] for row in rows]
        self.parts: dict[str, dict[str, str]] = {}
        for split in rows[0]:
            if split.isdecimal():
                self.parts[split] = {row["class"]: row[split] for row in rows}
        self._by_key = {class_key(row["class"]): row["class"] for row in rows}
        for row in rows:
            if folder := row.get("photo_folder"):
                self._by_key[class_key(folder)] = row["class"]

    @property
    def main_parts(self) -> dict[str, str]:
        """Class -> part in the benchmark's own split."""
        return next(iter(self.parts.values()))

    def class_of_folder(self, folder: str) -> str | None:
        """The class that a folder stands for, whatever its blanks, underscores and known typos; None: none."""
        return self._by_key.get(class_key(folder))
