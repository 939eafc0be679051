"""What a source finds on disk, before any file is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zsecli.data.folder_walk import BESIDE, NO_PICTURE, SYSTEM, PassedOver

FEW = 5  # of a kind named in a warning


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

    layout: what was looked for -> where it lies below the root. passed: what of its folders was passed over.
    named: its files were named one by one, so that what zse made is taken too. skipped: (path, reason) of what
    cannot be placed. warnings: sentences on what a reader of numbers must know. partition: name of the split that the
    entries' parts are ("25" of sketchy; "" where it has no name). partitions: further splits, class -> part. flags:
    name -> paths of the pictures that bear it.
    """

    root: Path
    entries: list[Entry]
    layout: dict[str, str] = field(default_factory=dict)
    passed: PassedOver = field(default_factory=PassedOver)
    named: bool = False
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    partition: str = ""
    partitions: dict[str, Mapping[str, str]] = field(default_factory=dict)
    flags: dict[str, set[str]] = field(default_factory=dict)

    @property
    def others(self) -> list[str]:
        """The files beside the pictures that are none, or that a picture was made of."""
        return [path for reason in (NO_PICTURE, SYSTEM, BESIDE) for path in self.passed.paths.get(reason, ())]


def name_few(names: Sequence[str], count: int = FEW) -> str:
    """The first of `names`, and how many more there are."""
    return ", ".join(names[:count]) + (f", and {len(names) - count} more" if len(names) > count else "")
