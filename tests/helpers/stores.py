"""Stores as tests look at them and change them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zsecli.store import seal
from zsecli.store.rows import write_rows
from zsecli.store.seal import SUM


@contextlib.contextmanager
def changing(store: Path) -> Iterator[h5py.File]:
    """A store for a test to change, with checksums of what is there then: without them no reader would look at it."""
    with h5py.File(store, "r+") as file:
        yield file
        for name in seal.find_row_datasets(file):
            if file[name].shape[:1] == file[name + SUM].shape:
                write_rows(file, name, slice(0, len(file[name])), file[name][:])
    reseal(store)


def reseal(store: Path) -> None:
    with h5py.File(store) as file:
        ranges = seal.find_sealed_ranges(file)
    seal.add_seal(store, ranges)


def read_datasets(store: Path) -> dict[str, Any]:
    """The values of every dataset by name, and the run key, but not the provenance, which says how zse was called."""
    values: dict[str, Any] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        if isinstance(node, h5py.Dataset):
            values[name] = node[()]

    with h5py.File(store) as file:
        file.visititems(visit)
        values["run-key"] = file.attrs["run-key"]
    del values["provenance"]
    return values


def have_same_datasets(store: Path, other: Path) -> bool:
    a, b = read_datasets(store), read_datasets(other)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=_is_float(a[k])) for k in a)


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def dump_store(store: Path) -> dict[str, Any]:
    """All of a store in a form that compares: attributes, and datasets with their types, layouts and fill values.

    The version of the program that made it is left out: it may change without the format.
    """
    parts: dict[str, Any] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        parts[name] = {key: value for key, value in node.attrs.items() if key != "created-by"}
        if isinstance(node, h5py.Dataset):
            text_type = h5py.check_string_dtype(node.dtype)
            fill = None if text_type else str(node.fillvalue)  # as text: a NaN equals nothing
            layout = str(node.dtype), node.chunks, node.compression, text_type, fill
            values = np.asarray(node[()])
            data = values.tolist() if values.dtype == object else values.tobytes()
            parts[name + "()"] = (node.shape, layout, data)

    with h5py.File(store) as file:
        visit("/", file)
        file.visititems(visit)
    return parts
