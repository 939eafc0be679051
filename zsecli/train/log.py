"""The log of a training run: one JSON record a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsecli.runtime.files import atomic_write

Record = dict[str, Any]


class Log:
    """`log.jsonl` in a folder. Every record has a `step`, which never falls from one line to the next."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"

    def append(self, record: Mapping[str, float | int | str]) -> None:
        """Add a record; it is in the file when this returns. After a killed run, `truncate` comes first."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def read_records(self) -> list[Record]:
        """All records, in order, without lines that are damaged or that a killed run left unfinished."""
        if not self.path.is_file():
            return []
        records = []
        for line in self.path.read_text("utf-8", errors="replace").split("\n"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and isinstance(record.get("step"), int) and "kind" in record:
                records.append(record)
        return records

    def truncate(self, step: int) -> None:
        """Drop the records after `step`, from where the run resumes, and unfinished lines. Makes the folder."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        remaining = [record for record in self.read_records() if record["step"] <= step]
        text = "".join(json.dumps(record) + "\n" for record in remaining)
        with atomic_write(self.path) as (partial,):
            partial.write_text(text, "utf-8")
