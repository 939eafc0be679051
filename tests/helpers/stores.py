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


def contents(store: Path) -> dict[str, Any]:
    """Every dataset of a store but its provenance, which says how it was called."""
    found: dict[str, Any] = {}
    with h5py.File(store) as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
        found["run-key"] = file.attrs["run-key"]
    del found["provenance"]
    return found


def same(one: Path, other: Path) -> bool:
    a, b = contents(one), contents(other)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=_real(a[k])) for k in a)


def _real(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def content(path: Path) -> dict[str, Any]:
    """All that a store says, for comparison: attributes and datasets with their types, layouts and fill values.

    The program's version is left out: it may change without the format.
    """
    said: dict[str, Any] = {}

    def visit(name: str, node: h5py.Group | h5py.Dataset) -> None:
        said[name] = {k: v for k, v in node.attrs.items() if k != "created-by"}
        if isinstance(node, h5py.Dataset):
            fill = None if h5py.check_string_dtype(node.dtype) else str(node.fillvalue)  # a NaN equals nothing
            layout = str(node.dtype), node.chunks, node.compression, h5py.check_string_dtype(node.dtype), fill
            values = np.asarray(node[()])
            said[name + "()"] = (node.shape, layout, values.tolist() if values.dtype == object else values.tobytes())

    with h5py.File(path) as file:
        visit("/", file)
        file.visititems(visit)
    return said
