"""A data set: which pictures it has, what they show, and which of them training may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.arrays import Ints, Ints8, Mask
from zsecli.data.items import Items
from zsecli.data.provenance import Header
from zsecli.errors import UsageError, did_you_mean
from zsecli.runtime.fingerprint import run_key

FileState = tuple[int, int, bytes]  # size, time of the last change, SHA-256
PictureState = tuple[int, int, bytes, bool]  # the same, and whether the picture is blank


@dataclass(kw_only=True)
class Dataset:
    """A prepared data set of N pictures."""

    name: str
    root: Path  # folder that the items' ids are relative to
    items: Items
    # By size (N,) in bytes and mtime (N,) in nanoseconds, a file that has not changed is known without reading it.
    size: Ints
    mtime: Ints
    report: dict[str, Any] = field(default_factory=dict)  # what was found and skipped when it was prepared
    partition: str = ""  # name of the split that `items.part` is, "" where it has none
    partitions: dict[str, Ints8] = field(default_factory=dict)  # further ones: name -> (N,) as `items.part`
    flags: dict[str, Mask] = field(default_factory=dict)  # marks on pictures: name -> (N,)
    header: Header | None = None  # of the store it was read from
    path: Path | None = None  # of that store

    @property
    def benchmark(self) -> str:
        """Which standard data set it is; "" for one's own."""
        return str(self.report.get("benchmark", ""))

    def known(self) -> dict[str, PictureState]:
        """id -> size, mtime and sha256 of its file when it was read, and whether it is blank.

        Empty where nobody looked for blank ones.
        """
        if "blank" not in self.flags:
            return {}
        digests = (digest.tobytes() for digest in self.items.sha256)
        states = zip(self.size.tolist(), self.mtime.tolist(), digests, self.flags["blank"].tolist(), strict=True)
        return dict(zip(self.items.id, states, strict=True))

    def stamps(self, ids: Iterable[str]) -> dict[str, FileState]:
        """id -> size, mtime and sha256 of its file when it was listed, for these pictures."""
        row_of = {name: row for row, name in enumerate(self.items.id)}
        stamps = {}
        for name in ids:
            row = row_of[name]
            stamps[name] = int(self.size[row]), int(self.mtime[row]), self.items.sha256[row].tobytes()
        return stamps

    def parts(self, partition: str = "") -> Ints8:
        """(N,) int8, SEEN, UNSEEN or NEITHER under a partition, "" for its own.

        Raises:
            UsageError: it has no such partition.
        """
        if partition in ("", self.partition):
            return np.asarray(self.items.part, np.int8)
        if partition not in self.partitions:
            names = [name for name in (self.partition, *self.partitions) if name]
            raise UsageError(
                f"{self.name}: has no split {partition!r}{did_you_mean(partition, names)}",
                f"it has {', '.join(names) or 'its own alone'}; zse inspect lists them with counts",
            )
        return self.partitions[partition]

    def key(self) -> str:
        """Run key: names, contents, classes and parts, not where the files are or when they changed."""
        content = self.items.content()
        if self.partitions or self.flags:  # a store of version 1.0 has neither, and its key says nothing of them
            content["partition"] = self.partition
            content["partitions"] = {name: parts.tolist() for name, parts in self.partitions.items()}
            content["flags"] = {name: np.flatnonzero(mask).tolist() for name, mask in self.flags.items()}
        return run_key(stage="dataset", name=self.name, **content)
