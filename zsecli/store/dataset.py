"""Dataset stores: a data set in an HDF5 file."""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import Any

import h5py

from zsecli.arrays import Ints8
from zsecli.data.dataset import Dataset
from zsecli.errors import StoreError
from zsecli.store.hdf5 import open_store, read_header, report_damage
from zsecli.store.items import read_items, write_items
from zsecli.store.writer import Writer

PREPARE_AGAIN = "run zse prepare again, with --overwrite"


def write_dataset(path: Path, dataset: Dataset, provenance: dict[str, Any]) -> Path:
    """Write a data set to a store."""

    def create(file: h5py.File) -> None:
        file.attrs.update({"name": dataset.name, "root": str(dataset.root)})
        group = file.create_group("items")
        write_items(dataset.items, group)
        size = group.create_dataset("size", data=dataset.size, dtype="i8")
        size.attrs["unit"] = "bytes"
        mtime = group.create_dataset("mtime", data=dataset.mtime, dtype="i8")
        mtime.attrs["unit"] = "nanoseconds since 1970"
        file.create_dataset("report", data=json.dumps(dataset.report))
        file.attrs["partition"] = dataset.partition
        for name, columns in (("partitions", dataset.partitions), ("flags", dataset.flags)):
            group = file.create_group(name)
            for column, values in columns.items():
                group.create_dataset(column, data=values, dtype="i1")

    with Writer(path, "dataset", dataset.key(), provenance, create) as store:
        store.commit(len(dataset.items))
        return store.finish()


def read_dataset(path: Path) -> Dataset:
    """The data set in a finished store; StoreError where the file is none."""
    with open_store(path, "dataset") as file, report_damage(path):
        items = read_items(file["items"], path)
        count = len(items)
        size, mtime = file["items/size"][:], file["items/mtime"][:]
        has_whole_numbers = size.dtype.kind == mtime.dtype.kind == "i"
        if not has_whole_numbers or not size.shape == mtime.shape == (count,) == (file["rows"][()],):
            raise StoreError(f"{path}: its columns do not belong together", PREPARE_AGAIN)
        flags = _read_columns(file, "flags", count, path)
        return Dataset(
            name=_check_text(file.attrs["name"]),
            root=Path(_check_text(file.attrs["root"])),
            items=items,
            size=size,
            mtime=mtime,
            report=_read_report(file),
            partition=_check_text(file.attrs.get("partition", "")),
            partitions=_read_columns(file, "partitions", count, path),
            flags={name: values.astype(bool) for name, values in flags.items()},
            header=read_header(file, path),
            path=path,
        )


def _check_text(value: Any) -> str:
    """An attribute that is text; ValueError where it is anything else, or no UTF-8."""
    if not isinstance(value, str):
        raise ValueError(f"{reprlib.repr(value)} is no text")
    value.encode()
    return value


def _read_report(file: h5py.File) -> dict[str, Any]:
    """The report; ValueError where its list of skipped files is none of [path, reason]."""
    report = dict(json.loads(file["report"].asstr()[()]))
    for pair in report.get("skipped", []):
        if not (isinstance(pair, list) and [type(value) for value in pair] == [str, str]):
            raise ValueError(f"its report says that {reprlib.repr(pair)} was skipped")
    return report


def _read_columns(file: h5py.File, group: str, count: int, path: Path) -> dict[str, Ints8]:
    """The columns (N,) of a group, with values -1 to 1; none where an older version wrote no such group."""
    columns = {name: file[group][name][:] for name in file.get(group, ())}
    for name, values in columns.items():
        if values.shape != (count,) or values.dtype.kind != "i" or (abs(values) > 1).any():
            raise StoreError(f"{path}: {group}/{name} does not belong to its pictures", PREPARE_AGAIN)
    return columns
