"""Datasets of a row a picture, or a query: written, and read back, with a checksum of every row."""

from __future__ import annotations

import zlib
from pathlib import Path

import h5py
import numpy as np
from h5py import h5d, h5p
from numpy.typing import NDArray

from zsecli.arrays import Array
from zsecli.errors import StoreError
from zsecli.store.hdf5 import report_damage
from zsecli.store.seal import SUM


def create_rows(file: h5py.File, name: str, shape: tuple[int, ...], dtype: str, fill: float) -> None:
    """Create a dataset of `shape` (N, ...) and its checksums.

    Its space in the file is allocated at once and in one piece. If it grew, a run that is killed, or finds the disk
    full, could leave space that HDF5 has allocated and does not know of: the next run would allocate it again.

    Args:
        fill: the value to write into rows without values.
    """
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    file.create_dataset(name, shape, dtype, fillvalue=fill, fill_time="never", dcpl=creation)
    file.create_dataset(name + SUM, data=np.zeros(shape[0], "<u4"))


def write_rows(file: h5py.File, name: str, rows: slice, values: Array) -> None:
    """Write `values` (B, ...) into B `rows`, as the dataset's type."""
    data = file[name]
    values = np.ascontiguousarray(values, data.dtype)
    data[rows] = values
    file[name + SUM][rows] = _sum_rows(values)


def _sum_rows(values: Array) -> NDArray[np.uint32]:
    """(B,) CRC-32 of the bytes of each of B rows."""
    return np.fromiter(map(zlib.crc32, values), np.uint32, len(values))


class Rows:
    """A dataset of an open store, whose rows are checked whenever they are read; stores before 1.2 have no checksums.

    shape, dtype: of the dataset.
    """

    def __init__(self, path: Path, file: h5py.File, name: str) -> None:
        """The dataset `name` of `file`, whose path is for messages; StoreError where it has none."""
        with report_damage(path):
            self.path = path
            self.name = name
            self.data = file[name]
            self.shape = self.data.shape
            self.dtype = self.data.dtype
            self.sums = file[name + SUM][:] if name + SUM in file else None
            if self.sums is not None and (self.sums.shape, self.sums.dtype) != (self.shape[:1], np.uint32):
                raise ValueError(f"the checksums of {name} do not belong to it")

    def read(self, rows: slice, out: Array | None = None) -> Array:
        """The values (B, ...) of `rows`, into `out` where it is given.

        Raises:
            StoreError: they are not what was written.
        """
        numbers = range(*rows.indices(self.shape[0]))
        with report_damage(self.path):
            if out is None:
                out = np.empty((len(numbers), *self.shape[1:]), self.dtype)
            self.data.read_direct(out, rows)
        if self.sums is not None:
            damaged = np.flatnonzero(_sum_rows(out) != self.sums[rows])
            if len(damaged):
                raise StoreError(
                    f"{self.path}: damaged: row {numbers[damaged[0]]} of {self.name} is not what was written",
                    "delete it and make it again; if that happens often, the disk or the memory is failing",
                )
        return out
