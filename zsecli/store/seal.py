"""The seal of a store: a checksum of all its bytes that are no rows, behind the end of the HDF5 file.

HDF5's library may crash, or never return, on a file in which a bit has flipped; so what it will parse is checked
before it sees the file. Rows have checksums of their own (`rows.py`): there may be too many of them to read all at
every start. docs/stores.md has the layout.
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

SUM = "-crc32"  # what the name of the checksums (N,) of a dataset's rows ends in
MAGIC = b"zse-seal"
_END = struct.Struct("<IQQ8s")  # checksum, how many ranges, length of the HDF5 file, magic
_AT_ONCE = 2**24  # bytes


def rows_of(file: h5py.File) -> list[str]:
    """The datasets whose rows have checksums of their own."""
    return [name for name in file if name + SUM in file]


def outside(file: h5py.File) -> NDArray[np.uint64]:
    """(R, 2) first byte, and the one behind the last, of all ranges that hold no rows of `rows_of`, in order.

    The last range ends where the file will.
    """
    held: list[tuple[int, int]] = []
    for name in rows_of(file):
        data = file[name]
        if data.chunks:  # before 1.3
            data.id.chunk_iter(lambda chunk: held.append((chunk.byte_offset, chunk.byte_offset + chunk.size)))
        elif (first := data.id.get_offset()) is not None:
            held.append((first, first + data.id.get_storage_size()))
    edges = [(0, 0), *sorted(held), (2**63, 2**63)]
    gaps = [(before[1], after[0]) for before, after in pairwise(edges) if before[1] < after[0]]
    return np.array(gaps, "<u8")


def add(path: Path, ranges: NDArray[np.uint64]) -> None:
    """Seal the closed HDF5 file at `path`, of which `ranges` (R, 2) are to be checked whenever it is opened."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        ranges = np.minimum(ranges, np.uint64(size))
        checksum = _checksum(file, ranges, size)
        file.seek(size)
        file.write(ranges.tobytes() + _END.pack(checksum, len(ranges), size, MAGIC))


def holds(path: Path) -> bool:
    """Whether the file is as it was sealed; False where it has no seal. A file that has not changed is read once.

    Raises:
        StoreError: it is not.
    """
    stat = path.stat()
    return _holds(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache
def _holds(path: Path, length: int, _mtime: int, _inode: int) -> bool:
    with path.open("rb") as file:
        file.seek(max(0, length - _END.size))
        end = file.read()
        if not end.endswith(MAGIC) or len(end) < _END.size:
            return False
        checksum, count, size, _ = _END.unpack(end)
        if size + 16 * count + _END.size == length:
            file.seek(size)
            ranges = np.frombuffer(file.read(16 * count), "<u8").reshape(-1, 2)
            edges = np.append(ranges.ravel(), np.uint64(size))
            if (edges[:-1] <= edges[1:]).all() and _checksum(file, ranges, size) == checksum:
                return True
    raise StoreError(f"{path}: damaged: it is not what was written", "delete it and make it again")


def _checksum(file: BinaryIO, ranges: NDArray[np.uint64], size: int) -> int:
    """CRC-32 of the bytes in `ranges`, then of these themselves, then of the file's size."""
    found = 0
    for start, stop in ranges.tolist():
        file.seek(start)
        while start < stop and (data := file.read(min(_AT_ONCE, stop - start))):
            found = zlib.crc32(data, found)
            start += len(data)
    return zlib.crc32(struct.pack("<Q", size), zlib.crc32(ranges.tobytes(), found))
