"""The seal of a store: a checksum of all its bytes that are no rows, behind the end of the HDF5 file.

HDF5's library may crash, or never return, on a file in which a bit has flipped; so what it will parse is checked
before it sees the file. Rows have checksums of their own (`rows.py`): there may be too many of them to read all
whenever a store is opened. docs/stores.md has the layout.
"""

from __future__ import annotations

import os
import struct
import zlib
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from zsecli.errors import StoreError

SUM = "-crc32"  # ends the name of the checksums (N,) of a dataset's rows
MAGIC = b"zse-seal"
_END = struct.Struct("<IQQ8s")  # checksum, number of ranges, length of the HDF5 file, magic
_RANGE_BYTES = 16
_READ_BYTES = 2**24  # at once

Ranges = NDArray[np.uint64]  # (R, 2) first byte, and the one behind the last


def find_row_datasets(file: h5py.File) -> list[str]:
    """The datasets whose rows have checksums of their own."""
    return [name for name in file if name + SUM in file]


def find_sealed_ranges(file: h5py.File) -> Ranges:
    """(R, 2) all ranges of bytes that hold no rows, in order; the last ends where the file will."""
    held: list[tuple[int, int]] = []
    for name in find_row_datasets(file):
        data = file[name]
        if data.chunks:  # before 1.3
            data.id.chunk_iter(lambda chunk: held.append((chunk.byte_offset, chunk.byte_offset + chunk.size)))
        elif (first := data.id.get_offset()) is not None:
            held.append((first, first + data.id.get_storage_size()))
    edges = [(0, 0), *sorted(held), (2**63, 2**63)]
    gaps = [(before[1], after[0]) for before, after in pairwise(edges) if before[1] < after[0]]
    return np.array(gaps, "<u8")


def add_seal(path: Path, ranges: Ranges) -> None:
    """Seal the closed HDF5 file at `path`, of which `ranges` (R, 2) are to be checked whenever it is opened."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        ranges = np.minimum(ranges, np.uint64(size))
        checksum = _sum_ranges(file, ranges, size)
        file.seek(size)
        file.write(ranges.tobytes())
        file.write(_END.pack(checksum, len(ranges), size, MAGIC))


def is_sealed(path: Path) -> bool:
    """Whether the file has a seal, with which its content agrees. A file that has not changed is read once.

    Raises:
        StoreError: its content is not what was sealed.
    """
    stat = path.stat()
    return _is_sealed(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache
def _is_sealed(path: Path, length: int, _mtime: int, _inode: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, length - _END.size))
        end = file.read()
        if not end.endswith(MAGIC) or len(end) < _END.size:
            return False
        checksum, count, size, _ = _END.unpack(end)
        if size + _RANGE_BYTES * count + _END.size == length:
            file.seek(size)
            ranges = np.frombuffer(file.read(_RANGE_BYTES * count), "<u8").reshape(-1, 2)
            edges = np.append(ranges.ravel(), np.uint64(size))
            is_ordered = (edges[:-1] <= edges[1:]).all()
            if is_ordered and _sum_ranges(file, ranges, size) == checksum:
                return True
    raise StoreError(f"{path}: damaged: it is not what was written", "delete it and make it again")


def _sum_ranges(file: BinaryIO, ranges: Ranges, size: int) -> int:
    """CRC-32 of the bytes in `ranges`, then of the ranges themselves, then of the file's size."""
    checksum = 0
    for start, stop in ranges.tolist():
        file.seek(start)
        while start < stop and (data := file.read(min(_READ_BYTES, stop - start))):
            checksum = zlib.crc32(data, checksum)
            start += len(data)
    checksum = zlib.crc32(ranges.tobytes(), checksum)
    return zlib.crc32(struct.pack("<Q", size), checksum)
