"""Dataset stores: which pictures there are, what they show, and which may be seen in training."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zsecli.errors import StoreError, UsageError, nearest
from zsecli.store.hdf5 import Header, Writer, open_store, read_header, reading, run_key
from zsecli.store.items import Ints, Items


@dataclass
class Dataset:
    """A prepared data set.

    root: folder that the items' ids are relative to. size, mtime: (N,) int64, bytes and nanoseconds,
    by which a file that has not changed is known without reading it. report: what was found,
    skipped and doubled on the way. partition: name of the split that the items' parts are, "" where it has
    none. partitions: further ones, name -> (N,) int8 as `Items.part`. flags: name -> (N,) bool, marks on pictures.
    path: of the store it was read from.
    """

    name: str
    root: Path
    items: Items
    size: Ints
    mtime: Ints
    report: dict[str, Any] = field(default_factory=dict)
    partition: str = ""
    partitions: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    flags: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    header: Header | None = None
    path: Path | None = None

    @property
    def benchmark(self) -> str:
        """Which standard data set it is; "" for one's own."""
        return str(self.report.get("benchmark", ""))

    def known(self) -> dict[str, tuple[int, int, bytes, bool]]:
        """id -> size, mtime and sha256 of its file when it was read, and whether it is blank.

        Empty where nobody looked for blank ones.
        """
        if "blank" not in self.flags:
            return {}
        digests = (digest.tobytes() for digest in self.items.sha256)
        rows = zip(self.size.tolist(), self.mtime.tolist(), digests, self.flags["blank"].tolist(), strict=True)
        return dict(zip(self.items.id, rows, strict=True))

    def stamps(self, ids: Iterable[str]) -> dict[str, tuple[int, int, bytes]]:
        """id -> size, mtime and sha256 of its file when it was listed, of these pictures alone."""
        rows = {name: row for row, name in enumerate(self.items.id)}
        digests = self.items.sha256
        return {
            name: (int(self.size[row]), int(self.mtime[row]), digests[row].tobytes())
            for name, row in ((name, rows[name]) for name in ids)
        }

    def parts(self, partition: str = "") -> NDArray[np.int8]:
        """(N,) int8, SEEN, UNSEEN or NEITHER under a partition, "" for its own; UsageError where there is none."""
        if partition in ("", self.partition):
            return np.asarray(self.items.part, np.int8)
        if partition not in self.partitions:
            names = [name for name in (self.partition, *self.partitions) if name]
            raise UsageError(
                f"{self.name}: has no split {partition!r}{nearest(partition, names)}",
                f"it has {', '.join(names) or 'its own alone'}; zse inspect lists them with counts",
            )
        return self.partitions[partition]

    def key(self) -> str:
        """Run key: names, contents, meaning and parts, not where or when the files lie."""
        content = self.items.content()
        if self.partitions or self.flags:  # a store of version 1.0 has neither, and its key says nothing of them
            content |= {"partition": self.partition, "partitions": {k: v.tolist() for k, v in self.partitions.items()}}
            content["flags"] = {k: np.flatnonzero(v).tolist() for k, v in self.flags.items()}
        return run_key(stage="dataset", name=self.name, **content)


def write_dataset(path: Path, dataset: Dataset, provenance: dict[str, Any]) -> Path:
    def create(file: h5py.File) -> None:
        file.attrs.update({"name": dataset.name, "root": str(dataset.root)})
        group = file.create_group("items")
        dataset.items.write(group)
        group.create_dataset("size", data=dataset.size, dtype="i8").attrs["unit"] = "bytes"
        group.create_dataset("mtime", data=dataset.mtime, dtype="i8").attrs["unit"] = "nanoseconds since 1970"
        file.create_dataset("report", data=json.dumps(dataset.report))
        file.attrs["partition"] = dataset.partition
        for group, columns in (("partitions", dataset.partitions), ("flags", dataset.flags)):
            file.create_group(group)
            for name, values in columns.items():
                file[group].create_dataset(name, data=values, dtype="i1")

    with Writer(path, "dataset", dataset.key(), provenance, create) as store:
        store.commit(len(dataset.items))
        return store.finish()


def read_dataset(path: Path) -> Dataset:
    """The data set in a finished store; StoreError where the file is none."""
    with open_store(path, "dataset") as file, reading(path):
        items = Items.read(file["items"], path)
        size, mtime = file["items/size"][:], file["items/mtime"][:]
        whole = size.dtype.kind == mtime.dtype.kind == "i"
        if not whole or not size.shape == mtime.shape == (len(items),) == (file["rows"][()],):
            raise StoreError(f"{path}: its columns do not belong together", "run zse prepare again, with --overwrite")
        return Dataset(
            _text(file.attrs["name"]),
            Path(_text(file.attrs["root"])),
            items,
            size,
            mtime,
            _report(file),
            _text(file.attrs.get("partition", "")),
            _columns(file, "partitions", items, path),
            {name: values.astype(bool) for name, values in _columns(file, "flags", items, path).items()},
            read_header(file, path),
            path,
        )


def _text(value: Any) -> str:
    """An attribute that is text; ValueError where it is anything else, or no UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"{reprlib.repr(value)} is no text")
    value.encode()
    return value


def _report(file: h5py.File) -> dict[str, Any]:
    """The report; ValueError where its list of skipped files is none of [path, reason]."""
    report = dict(json.loads(file["report"].asstr()[()]))
    for pair in report.get("skipped", []):
        if not (isinstance(pair, list) and [type(part) for part in pair] == [str, str]):
            raise ValueError(f"its report says that {reprlib.repr(pair)} was skipped")
    return report


def _columns(file: h5py.File, group: str, items: Items, path: Path) -> dict[str, NDArray[np.int8]]:
    """The columns (N,) of a group, -1 to 1; none where an older version wrote no such group."""
    columns = {name: file[group][name][:] for name in file.get(group, ())}
    for name, values in columns.items():
        if values.shape != (len(items),) or values.dtype.kind != "i" or (abs(values) > 1).any():
            raise StoreError(
                f"{path}: {group}/{name} does not belong to its pictures", "run zse prepare again, with --overwrite"
            )
    return columns
