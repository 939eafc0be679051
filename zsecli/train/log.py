"""What a run leaves behind beside weights: a line of JSON a record, and a figure of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zsecli.files import replacing

Record = dict[str, Any]


class Log:
    """`log.jsonl` in a folder. Every record has a `step`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.jsonl"

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record, on disk when this returns."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def records(self) -> list[Record]:
        """All records; a line that a killed run left unfinished is none."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_text("utf-8").split("\n"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def truncate(self, step: int) -> None:
        """Drop what came after `step`: the run goes on from there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [record for record in self.records() if record["step"] <= step]
        with replacing(self.path) as (partial,):
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept), "utf-8")
