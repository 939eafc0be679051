"""Dataset stores: which pictures there are, what they show, and which may be seen in training."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from zsecli.errors import StoreError
from zsecli.store.header import Header, Writer, open_store, read_header, reading, run_key
from zsecli.store.items import Ints, Items


@dataclass
class Dataset:
    """A prepared data set.

    root: folder that the items' ids are relative to. size, mtime: (N,) int64, bytes and nanoseconds,
    by which a file that has not changed is known without reading it. report: what was found,
    skipped and doubled on the way.
    """

    name: str
    root: Path
    items: Items
    size: Ints
    mtime: Ints
    report: dict[str, Any] = field(default_factory=dict)
    header: Header | None = None

    def known(self) -> dict[str, tuple[int, int, bytes]]:
        """id -> size, mtime and sha256 of its file when it was read."""
        digests = (digest.tobytes() for digest in self.items.sha256)
        rows = zip(self.size.tolist(), self.mtime.tolist(), digests, strict=True)
        return dict(zip(self.items.id, rows, strict=True))

    def key(self) -> str:
        """Run key: names, contents, meaning and parts, not where or when the files lie."""
        return run_key(stage="dataset", name=self.name, **self.items.content())


def write_dataset(path: Path, dataset: Dataset, provenance: dict[str, Any]) -> Path:
    def create(file: h5py.File) -> None:
        file.attrs.update({"name": dataset.name, "root": str(dataset.root)})
        group = file.create_group("items")
        dataset.items.write(group)
        group.create_dataset("size", data=dataset.size, dtype="i8").attrs["unit"] = "bytes"
        group.create_dataset("mtime", data=dataset.mtime, dtype="i8").attrs["unit"] = "nanoseconds since 1970"
        file.create_dataset("report", data=json.dumps(dataset.report))

    with Writer(path, "dataset", dataset.key(), provenance, create) as store:
        store.commit(len(dataset.items))
        return store.finish()


def read_dataset(path: Path) -> Dataset:
    """The data set in a finished store; StoreError where the file is none."""
    with open_store(path, "dataset") as file, reading(path):
        items = Items.read(file["items"], path)
        size, mtime = file["items/size"][:], file["items/mtime"][:]
        if not size.shape == mtime.shape == (len(items),) == (file["rows"][()],):
            raise StoreError(f"{path}: its columns do not belong together", "run zse prepare again")
        return Dataset(
            str(file.attrs["name"]),
            Path(str(file.attrs["root"])),
            items,
            size,
            mtime,
            dict(json.loads(file["report"].asstr()[()])),
            read_header(file, path),
        )
