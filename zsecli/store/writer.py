"""How a store is written, so that no half of one is ever under its final name.

A store is written as `NAME.partial` beside its target. All datasets are made first, rows are written batch by batch
with the row count committed last, and the finished file replaces the target at once.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import h5py

from zsecli import __version__
from zsecli.errors import StoreError, UsageError, get_errno
from zsecli.runtime.files import check_is_file, exclusive_lock, is_foreign, move_into_place, partial_path, side_paths
from zsecli.store import seal
from zsecli.store.hdf5 import (
    DAMAGE,
    KINDS,
    TEXT,
    UNSEALED,
    VERSION,
    explain_error,
    may_be_store,
    open_store,
    open_to_read,
    open_to_write,
    read_header,
    report_damage,
)

COPIED = 2**26  # bytes of another store in memory at once
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # what every HDF5 file begins with


def check_target(path: Path, kind: str, overwrite: bool) -> None:
    """Refuse to write a store over anything but an older result of the same stage, and over that unless told to.

    No stage reads a store of the kind that it makes: as a store replaces its own kind alone, it cannot replace an
    input.

    Raises:
        UsageError: `path` holds another content and `overwrite` is False, or it is no store of `kind`.
    """
    check_is_file(path)
    if path.exists() and not overwrite:
        raise UsageError(
            f"{path}: already holds something made from other inputs or settings",
            "pass --overwrite, or another name with -o",
        )
    if path.exists() and path.stat().st_size and not may_be_store(path, kind):
        raise UsageError(
            f"{path}: is no {kind} store, and is not replaced by one", "give another name with -o, or delete it"
        )


def update_provenance(path: Path, kind: str, **changes: Any) -> None:
    """Change values in the provenance of a finished store; nothing is written where it has them already.

    The store is copied, changed and replaced: it is whole at all times, and its run key and its rows stay.

    Raises:
        StoreError: another process is writing it.
        ZseError: there is no room for the copy.
    """
    with exclusive_lock(path, wait=True):
        with open_store(path, kind) as file:
            header = read_header(file, path)
        provenance = header.provenance | changes
        if provenance == header.provenance:
            return
        partial = _choose_partial(partial_path(path))
        try:
            partial.unlink(missing_ok=True)  # what is written is a file of one's own, no link
            shutil.copyfile(path, partial)
            with open_to_write(partial, "r+") as file:
                del file["provenance"]
                _write_provenance(file, provenance)
                ranges = seal.find_sealed_ranges(file)
            if header.version not in UNSEALED:
                seal.add_seal(partial, ranges)
            move_into_place(path, partial)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise explain_error(error, partial) from error


def _write_provenance(file: h5py.File, provenance: dict[str, Any]) -> None:
    file.create_dataset("provenance", data=json.dumps(provenance, sort_keys=True), dtype=TEXT)


def _choose_partial(path: Path) -> Path:
    """The first name for the side file `path` that no file of the user's has."""
    return next(name for name in side_paths(path) if not _is_foreign_store(name))


def _is_foreign_store(path: Path) -> bool:
    """Whether a file at `path` was not begun as a store; StoreError where another process is writing it."""
    if is_foreign(path, lambda head: head.startswith(HDF5_SIGNATURE)):
        return True
    if path.is_symlink() or not h5py.is_hdf5(path):
        return False
    try:
        with open_to_read(path) as file:
            return str(file.attrs.get("zse-schema", "")) not in KINDS
    except OSError as error:
        if error.errno is not None:  # in use, or not allowed
            raise
        return True
    except DAMAGE:
        return True


class Writer:
    """A store being written; use as a context manager and call `finish()` when all is there.

    Left without `finish()`, by an error or a kill, the `.partial` file stays and the next run with
    the same run key continues from its committed rows.
    """

    file: h5py.File  # open
    rows: int  # committed so far; above 0 where an earlier run is continued

    def __init__(
        self, path: Path, kind: str, key: str, provenance: dict[str, Any], create: Callable[[h5py.File], None]
    ) -> None:
        """Begin a store, or continue an unfinished one with the same run key.

        Args:
            create: makes the datasets in a new file.
        """
        check_target(path, kind, overwrite=True)
        self.path = path
        self.partial = partial_path(path)
        self.rows = 0
        self._lock = exclusive_lock(path)  # else a process could continue the file to which another just gives its name
        with contextlib.ExitStack() as on_failure:
            on_failure.push(self._close)
            on_failure.enter_context(self._lock)
            unfinished = self._continue_file(kind, key)
            if unfinished is not None:
                self.file = unfinished
            else:
                self.file = open_to_write(self.partial, "x")
                self._begin_file(kind, key, provenance, create)
            on_failure.pop_all()

    def _begin_file(self, kind: str, key: str, provenance: dict[str, Any], create: Callable[[h5py.File], None]) -> None:
        self.file.attrs.update(
            {
                "zse-schema": kind,
                "zse-schema-version": VERSION,
                "complete": False,
                "run-key": key,
                "created-by": f"zse {__version__}",
            }
        )
        self.file.flush()  # before space is allocated: nobody knows whose a file without these attributes is
        _write_provenance(self.file, provenance)
        self.file.create_dataset("rows", data=0, dtype="i8")
        create(self.file)
        self.file.flush()

    def _continue_file(self, kind: str, key: str) -> h5py.File | None:
        """The file of an earlier run with rows of the same content; any other that zse made is removed.

        A file is never opened with "w": HDF5 empties it before it finds that another process holds it. Nor is a link
        followed: it would be somebody else's file that is written. Where a user's file has the name, another is taken.
        """
        self.partial = _choose_partial(self.partial)
        if self.partial.is_symlink():
            self.partial.unlink()
        try:
            file = open_to_write(self.partial, "r+")
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno is not None:  # in use, or not allowed
                raise
            self.partial.unlink()  # killed before the first flush
            return None
        with contextlib.suppress(*DAMAGE):
            expected = {"zse-schema": kind, "zse-schema-version": VERSION, "run-key": key}
            if all(file.attrs[name] == value for name, value in expected.items()):
                self.rows = int(file["rows"][()])
        if self.rows > 0:
            return file
        self.partial.unlink()
        file.close()
        return None

    def commit(self, rows: int) -> None:
        """Make everything written up to row `rows` survive a kill."""
        self.file.flush()
        self.rows = rows
        self.file["rows"][()] = rows
        self.file.flush()

    def append(self, path: Path, kind: str, rows: slice) -> None:
        """Commit those of `rows` that are not there yet, from a finished store that holds `rows` alone.

        Raises:
            StoreError: it holds another number of rows.
        """
        with open_store(path, kind) as file, report_damage(path):
            count = int(file["rows"][()])
            expected = rows.stop - rows.start
            if count != expected:
                raise StoreError(
                    f"{path}: holds {count} rows, where {expected} are due",
                    "delete it and make it again, with the same options and kind of device as the other shards",
                )
            names = [name for name, data in file.items() if isinstance(data, h5py.Dataset) and data.shape]
            row_bytes = sum(file[name].dtype.itemsize * math.prod(file[name].shape[1:]) for name in names)
            step = max(1, COPIED // row_bytes)
            for start in range(self.rows, rows.stop, step):
                stop = min(start + step, rows.stop)
                for name in names:
                    self.file[name][start:stop] = file[name][start - rows.start : stop - rows.start]
                self.commit(stop)

    def finish(self) -> Path:
        """Mark the store complete and give it its name."""
        self.file.attrs["complete"] = True
        self.file.flush()
        ranges = seal.find_sealed_ranges(self.file)
        self.file.close()
        seal.add_seal(self.partial, ranges)
        move_into_place(self.path, self.partial)
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        try:
            self._close(*raised)
        finally:
            self._lock.__exit__(None, None, None)

    def _close(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Close the file, if there is one; an error of the system or of HDF5 is raised again in words."""
        with contextlib.suppress(OSError, RuntimeError, AttributeError):
            self.file.close()
        if error is not None and (isinstance(error, OSError) or get_errno(error) is not None):
            raise explain_error(error, self.partial) from error
