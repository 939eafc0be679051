"""What a source finds on disk, before any file is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zsecli.data.folder_walk import BESIDE, NO_PICTURE, SYSTEM, PassedOver

FEW = 5  # names of a kind in a warning


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One picture of a source."""

    path: str  # relative to the source's root
    modality: str
    label: str
    instance: str | None = None
    family: str | None = None
    part: str | None = "unseen"  # None where it belongs to no part


@dataclass(kw_only=True)
class Listing:
    """A data set as it is on disk."""

    root: Path
    entries: list[Entry] = field(default_factory=list)
    layout: dict[str, str] = field(default_factory=dict)  # what was looked for -> where it is below the root
    passed: PassedOver = field(default_factory=PassedOver)  # files and folders below the root that are no entries
    named: bool = False  # its files were named one by one, so that pictures that zse made are taken too
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of what cannot be placed
    warnings: list[str] = field(default_factory=list)  # sentences that a reader of results must know
    partition: str = ""  # name of the split that the entries' parts are ("25" of sketchy); "" where it has none
    partitions: dict[str, Mapping[str, str]] = field(default_factory=dict)  # further splits: name -> class -> part
    flags: dict[str, set[str]] = field(default_factory=dict)  # name -> paths of the pictures with this mark

    @property
    def others(self) -> list[str]:
        """The files beside the pictures that are none, or that a picture was made of."""
        paths: list[str] = []
        for reason in (NO_PICTURE, SYSTEM, BESIDE):
            paths += self.passed.paths.get(reason, ())
        return paths


def name_few(names: Sequence[str], count: int = FEW) -> str:
    """The first of `names`, and how many more there are."""
    text = ", ".join(names[:count])
    return f"{text}, and {len(names) - count} more" if len(names) > count else text
