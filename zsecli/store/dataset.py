"""Dataset stores: which pictures there are, what they show, and which may be seen in training."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.errors import StoreError
from zsecli.store.header import Header, Writer, open_store, read_header, run_key
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

    def key(self) -> str:
        """Run key: names, contents, meaning and parts, not where or when the files lie."""
        items = self.items
        columns = {c: [getattr(items, c).names, getattr(items, c).codes.tolist()] for c in items.COLUMNS}
        return run_key(
            stage="dataset",
            name=self.name,
            root=str(self.root),
            id=items.id,
            sha256=items.sha256.tobytes().hex(),
            modality=items.modality.tolist(),
            part=items.part.tolist(),
            **columns,
        )


def write_dataset(path: Path, dataset: Dataset, provenance: dict[str, Any]) -> Path:
    with Writer(path, "dataset", dataset.key(), provenance) as store:
        store.file.attrs.update({"name": dataset.name, "root": str(dataset.root)})
        group = store.file.create_group("items")
        dataset.items.write(group)
        group.create_dataset("size", data=dataset.size, dtype="i8").attrs["unit"] = "bytes"
        group.create_dataset("mtime", data=dataset.mtime, dtype="i8").attrs["unit"] = "nanoseconds since 1970"
        store.file.create_dataset("report", data=json.dumps(dataset.report))
        store.commit(len(dataset.items))
        return store.finish()


def read_dataset(path: Path) -> Dataset:
    """The data set in a finished store; StoreError where the file is none."""
    with open_store(path, "dataset") as file:
        items = Items.read(file["items"], path)
        try:
            group = file["items"]
            size, mtime = group["size"][:], group["mtime"][:]
            dataset = Dataset(
                str(file.attrs["name"]),
                Path(str(file.attrs["root"])),
                items,
                size,
                mtime,
                json.loads(file["report"].asstr()[()]),
                read_header(file, path),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise StoreError(f"{path}: damaged: {error}", "run zse prepare again") from error
    if not len(items) == len(np.atleast_1d(size)) == len(np.atleast_1d(mtime)):
        raise StoreError(f"{path}: its columns do not belong together", "run zse prepare again")
    return dataset
