"""What a source finds on disk, before any file is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One picture of a source; `path` is relative to the source's root, `part` None where it belongs to none."""

    path: str
    modality: str
    label: str
    instance: str | None
    family: str | None = None
    part: str | None = "unseen"


@dataclass
class Listing:
    """A data set as it lies on disk.

    layout: what was looked for -> where it lies below the root. others: files that are no pictures by
    their names. skipped: (path, reason) of what cannot be placed. warnings: sentences on what a reader
    of numbers must know. partition: name of the split that the entries' parts are ("25" of sketchy; "" where it
    has no name). partitions: further splits, class -> part. flags: name -> paths of the pictures that bear it.
    """

    root: Path
    entries: list[Entry]
    layout: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    partition: str = ""
    partitions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    flags: dict[str, set[str]] = field(default_factory=dict)
