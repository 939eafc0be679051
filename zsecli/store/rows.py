"""Datasets of a row a picture, or a query: written, and read back, with a checksum of every row."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p
from numpy.typing import NDArray

from zsecli.errors import StoreError
from zsecli.store.hdf5 import reading
from zsecli.store.seal import SUM


def create_rows(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str, fill: float) -> None:
    """A dataset of `shape` (N, ...) and its checksums; `fill` is what rows without values are to be given.

    It gets its place in the file at once and in one piece. Did it grow, a run that is killed, or finds the disk full,
    could leave places that HDF5 has given away and does not know of: the next run would give them away again.
    """
    at_once = h5p.create(h5p.DATASET_CREATE)
    at_once.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    file.create_dataset(name, shape, dtype, fillvalue=fill, fill_time="never", dcpl=at_once)
    file.create_dataset(name + SUM, data=np.zeros(shape[0], "<u4"))


def write_rows(file: h5py.File, name: str, rows: slice, values: NDArray[Any]) -> None:
    """Put `values` into `rows`, both B of them, as the dataset's type."""
    data = file[name]
    values = np.ascontiguousarray(values, data.dtype)
    data[rows] = values
    file[name + SUM][rows] = _sums(values)


def _sums(values: NDArray[Any]) -> NDArray[np.uint32]:
    """(B,) CRC-32 of the bytes of each of B rows."""
    return np.fromiter(map(zlib.crc32, values), np.uint32, len(values))


class Rows:
    """A dataset of an open store, whose rows are checked whenever they are read; stores before 1.2 have no checksums.

    shape, dtype: of the dataset.
    """

    def __init__(self, path: Path, file: h5py.File, name: str) -> None:
        """StoreError where `file`, which lies at `path`, has no such dataset."""
        with reading(path):
            self.path, self.name, self.data = path, name, file[name]
            self.shape, self.dtype = self.data.shape, self.data.dtype
            self.sums = file[name + SUM][:] if name + SUM in file else None
            if self.sums is not None and (self.sums.shape, self.sums.dtype) != (self.shape[:1], np.uint32):
                raise ValueError(f"the checksums of {name} do not belong to it")

    def read(self, rows: slice, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The values (B, ...) of `rows`, into `out` where it is given.

        Raises:
            StoreError: they are not what was written.
        """
        with reading(self.path):
            if out is None:
                count = len(range(*rows.indices(self.shape[0])))
                out = np.empty((count, *self.shape[1:]), self.dtype)
            self.data.read_direct(out, rows)
        if self.sums is not None:
            wrong = np.flatnonzero(_sums(out) != self.sums[rows])
            if len(wrong):
                row = range(*rows.indices(self.shape[0]))[wrong[0]]
                raise StoreError(
                    f"{self.path}: damaged: row {row} of {self.name} is not what was written",
                    "delete it and make it again; if that happens often, the disk or the memory is failing",
                )
        return out
