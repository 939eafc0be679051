"""What every store has: a header that says what it is, and a way of writing that leaves no half under the final name.

A store is written as `NAME.partial` beside its target. All datasets are made first, rows are written
batch by batch with the row count committed last, and the finished file replaces the target at once.
docs/stores.md is the specification.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import h5py

from zsecli import __version__
from zsecli.errors import StoreError, UsageError, ZseError, refusal, system_number
from zsecli.runtime.files import alone, check_file, is_foreign, partial_path, settle, side_paths
from zsecli.store import provenance, seal, structure

COPIED = 2**26  # bytes of a shard in memory at once
VERSION = "1.3"
UNSEALED = ("1.0", "1.1")  # versions that had no checksums
KINDS = ("dataset", "features", "ranking")
HDF5 = b"\x89HDF\r\n\x1a\n"  # what every HDF5 file begins with
TEXT = h5py.string_dtype("utf-8")
_DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class Header:
    """Root attributes and provenance of a store."""

    schema: str
    version: str
    complete: bool
    run_key: str
    created_by: str
    provenance: dict[str, Any]


def run_key(**parts: Any) -> str:
    """SHA-256 of everything that determines a store's content, as hexadecimal text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def versions() -> dict[str, str]:
    """What is installed of the packages that a store's content depends on, for its provenance."""
    return {"zse": __version__, **{name: version(name) for name in ("torch", "timm", "numpy", "h5py", "pillow")}}


@contextlib.contextmanager
def reading(path: object) -> Iterator[None]:
    """What h5py raises where a file is damaged, which may be nearly anything, as a StoreError."""
    try:
        yield
    except _DAMAGE as error:
        raise StoreError(f"{path}: damaged: {error}", "delete it and make it again") from error


@contextlib.contextmanager
def open_store(path: Path, kind: str | None = None) -> Iterator[h5py.File]:
    """A finished store of `kind` (any kind: None), open for reading; read from it under `reading`.

    Raises:
        StoreError: missing, no HDF5 file, unfinished, of another kind or of a newer major version, changed since it
            was written, or made of what no store is made of.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such store", _where_it_went(path))
    sealed = seal.holds(path)
    with reading(path):
        try:
            file = _open_to_read(path)
        except OSError as error:
            raise _explain(error, path) from error
    with file:
        _check_made(file, path)
        header = read_header(file, path)
        if kind is not None and header.schema != kind:
            what = f"is a {header.schema} store, where a {kind} store is needed"
            raise StoreError(f"{path}: {what}", f"zse inspect {path} says more")
        if not header.complete:
            raise StoreError(f"{path}: is not finished", "run its command again: it goes on where it stopped")
        if not sealed and header.version not in UNSEALED:
            raise StoreError(f"{path}: damaged: it has lost its seal", "delete it and make it again")
        yield file


@cache
def _direct_driver() -> str:
    """The name of HDF5's usual driver without a buffer of rows: where the disk is full HDF5 would crash of them."""
    h5py.register_driver("zse-direct", lambda access: access.set_sieve_buf_size(0))
    return "zse-direct"


def _open_to_read(path: Path) -> h5py.File:
    """An HDF5 file without HDF5's own lock, or as this process has it open already: HDF5 opens it the same way only."""
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
    return h5py.File(path, "r")


def _check_made(file: h5py.File, path: Path) -> None:
    """StoreError where the file is no store, of a newer major version, or made of what no store is made of."""
    with reading(path):
        attributes = file.attrs
        schema, version = (str(attributes.get(n, "")) for n in ("zse-schema", "zse-schema-version"))
        if schema not in KINDS:
            raise StoreError(f"{path}: an HDF5 file, but no zse store", "give a file that a zse command printed")
        if version.split(".")[0] != VERSION.split(".")[0]:
            raise StoreError(
                f"{path}: {schema} store of version {version}, this zse reads {VERSION}", "install a newer zse"
            )
        structure.check(file)


def read_header(file: h5py.File, path: Path) -> Header:
    """The header of a file that `open_store` has opened; StoreError where it is damaged."""
    with reading(path):
        attributes, schema = file.attrs, str(file.attrs["zse-schema"])
        said = dict(json.loads(file["provenance"].asstr()[()]))
        provenance.check(schema, said)
        return Header(
            schema,
            str(attributes["zse-schema-version"]),
            bool(attributes["complete"]),
            str(attributes["run-key"]),
            str(attributes["created-by"]),
            said,
        )


def finished(path: Path, kind: str, key: str) -> bool:
    """Whether `path` already holds exactly the content that `key` stands for."""
    if not path.is_file():
        return False
    try:
        with open_store(path, kind) as file:
            return str(file.attrs["run-key"]) == key
    except StoreError:
        return False


def change_provenance(path: Path, kind: str, **changes: Any) -> None:
    """Let a finished store say something else of where it comes from; nothing is done where it says so already.

    The store is copied, changed and replaced: it is whole at all times, and its run key and its rows stay.

    Raises:
        StoreError: another process is writing it. ZseError: there is no room for the copy.
    """
    with alone(path, wait=True):
        with open_store(path, kind) as file:
            said = read_header(file, path).provenance
            sealed = str(file.attrs["zse-schema-version"]) not in UNSEALED
        if said | changes == said:
            return
        partial = next(name for name in side_paths(partial_path(path)) if not _is_foreign_store(name))
        try:
            partial.unlink(missing_ok=True)  # what is written is a file of one's own, no link
            shutil.copyfile(path, partial)
            with h5py.File(partial, "r+", driver=_direct_driver(), locking=False) as file:
                del file["provenance"]
                file.create_dataset("provenance", data=json.dumps(said | changes, sort_keys=True), dtype=TEXT)
                ranges = seal.outside(file)
            if sealed:
                seal.add(partial, ranges)
            settle(path, partial)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise _explain(error, partial) from error


def check_target(path: Path, kind: str, overwrite: bool) -> None:
    """Refuse to write a store of `kind` over something else than an older run of the same stage, unless told to.

    Of no stage is the input a store of the kind that it makes: as such a store replaces its own kind alone, it cannot
    replace an input.

    Raises:
        UsageError: `path` holds another content and `overwrite` is False, or it is nothing but a store of that kind.
    """
    check_file(path)
    if path.exists() and not overwrite:
        raise UsageError(
            f"{path}: already holds something made from other inputs or settings",
            "pass --overwrite, or another name with -o",
        )
    if path.exists() and path.stat().st_size and not _may_be(path, kind):
        raise UsageError(
            f"{path}: is no {kind} store, and is not replaced by one", "give another name with -o, or delete it"
        )


def _may_be(path: Path, kind: str) -> bool:
    """Whether a file is a store of `kind`, or one so damaged that it does not say what it is."""
    if not h5py.is_hdf5(path):
        return False
    try:
        seal.holds(path)  # first, as HDF5's library may crash on damage
        with _open_to_read(path) as file:
            return str(file.attrs.get("zse-schema", "")) == kind
    except (StoreError, *_DAMAGE):
        return True


def _is_foreign_store(path: Path) -> bool:
    """Whether a file at `path` was not begun as a store; StoreError where another process is writing it."""
    if is_foreign(path, lambda head: head.startswith(HDF5)):
        return True
    if path.is_symlink() or not h5py.is_hdf5(path):
        return False
    try:
        with _open_to_read(path) as file:
            return str(file.attrs.get("zse-schema", "")) not in KINDS
    except OSError as error:
        if error.errno is not None:  # in use, or not allowed
            raise
        return True
    except _DAMAGE:
        return True


class Writer:
    """A store being written; use as a context manager and call `finish()` when all is there.

    Left without `finish()`, by an error or a kill, the `.partial` file stays and the next run with
    the same run key goes on from its committed rows.

    Attributes:
        file: the open HDF5 file.
        rows: rows committed so far; above 0 where an earlier run is taken up.
    """

    def __init__(
        self, path: Path, kind: str, key: str, provenance: dict[str, Any], create: Callable[[h5py.File], None]
    ) -> None:
        """`create` makes the store's datasets in a file that is begun afresh."""
        check_target(path, kind, True)
        self.path, self.partial, self.rows = path, partial_path(path), 0
        self._alone = alone(path)  # else one could take up the file to which another just gives its name
        with contextlib.ExitStack() as failed:
            failed.push(self._end)
            failed.enter_context(self._alone)
            self.file = self._resume(kind, key) or h5py.File(self.partial, "x", driver=_direct_driver(), locking=False)
            if self.rows:
                failed.pop_all()
                return
            self.file.attrs.update(
                {
                    "zse-schema": kind,
                    "zse-schema-version": VERSION,
                    "complete": False,
                    "run-key": key,
                    "created-by": f"zse {__version__}",
                }
            )
            self.file.flush()  # before the places are given away: of a file without these nobody knows whose it is
            self.file.create_dataset("provenance", data=json.dumps(provenance, sort_keys=True), dtype=TEXT)
            self.file.create_dataset("rows", data=0, dtype="i8")
            create(self.file)
            self.file.flush()
            failed.pop_all()

    def _resume(self, kind: str, key: str) -> h5py.File | None:
        """The file of an earlier run with rows of the same content; any other that zse made is removed.

        A file is never opened with "w": HDF5 empties it before it finds that another process holds it. Nor is a link
        followed: it would be somebody else's file that is written. Where a user's file has the name, another is taken.
        """
        self.partial = next(name for name in side_paths(self.partial) if not _is_foreign_store(name))
        if self.partial.is_symlink():
            self.partial.unlink()
        try:
            file = h5py.File(self.partial, "r+", driver=_direct_driver(), locking=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno is not None:  # in use, or not allowed
                raise
            self.partial.unlink()  # killed before the first flush
            return None
        with contextlib.suppress(*_DAMAGE):
            same = {"zse-schema": kind, "zse-schema-version": VERSION, "run-key": key}
            if all(file.attrs[name] == value for name, value in same.items()):
                self.rows = int(file["rows"][()])
        if self.rows > 0:
            return file
        self.partial.unlink()
        file.close()
        return None

    def commit(self, rows: int) -> None:
        """Make everything written up to row `rows` survive a kill."""
        self.file.flush()
        self.file["rows"][()] = self.rows = rows
        self.file.flush()

    def append(self, path: Path, kind: str, rows: slice) -> None:
        """Commit `rows` of this store, those not there yet, from a finished store that holds these alone.

        Raises:
            StoreError: it holds another number of rows.
        """
        with open_store(path, kind) as file, reading(path):
            if int(file["rows"][()]) != rows.stop - rows.start:
                raise StoreError(
                    f"{path}: holds {file['rows'][()]} rows, where {rows.stop - rows.start} are due",
                    "delete it and make it again, with the same options and kind of device as the other shards",
                )
            names = [name for name, data in file.items() if isinstance(data, h5py.Dataset) and data.shape]
            width = sum(file[name].dtype.itemsize * math.prod(file[name].shape[1:]) for name in names)
            step = max(1, COPIED // width)
            for start in range(self.rows, rows.stop, step):
                stop = min(start + step, rows.stop)
                for name in names:
                    self.file[name][start:stop] = file[name][start - rows.start : stop - rows.start]
                self.commit(stop)

    def finish(self) -> Path:
        """Mark the store complete and give it its name."""
        self.file.attrs["complete"] = True
        self.file.flush()
        ranges = seal.outside(self.file)
        self.file.close()
        seal.add(self.partial, ranges)
        settle(self.path, self.partial)
        return self.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: Any) -> None:
        try:
            self._end(*raised)
        finally:
            self._alone.__exit__(None, None, None)

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        """Close the file, if there is one; what the system or HDF5 says is told in words."""
        with contextlib.suppress(OSError, RuntimeError, AttributeError):
            self.file.close()
        if error is not None and (isinstance(error, OSError) or system_number(error) is not None):
            raise _explain(error, self.partial) from error


def _where_it_went(path: Path) -> str:
    if partial_path(path).exists():
        return f"{partial_path(path)} is unfinished: run its command again"
    return "look for the path that the command printed when it was made"


def _explain(error: BaseException, path: Path) -> ZseError:
    """An error of the system or of HDF5 in words."""
    number = system_number(error)
    # FileExistsError: it was not there a moment ago, or its folder is a file
    if number == errno.EAGAIN or (number == errno.EEXIST and path.exists()):
        return StoreError(f"{path}: another zse is writing it", "wait for it")
    if "signature not found" in str(error):
        return StoreError(f"{path}: not an HDF5 file", "give a file that a zse command printed")
    if number is None:  # HDF5's own
        return StoreError(f"{path}: damaged: {error}", "delete it and make it again")
    return refusal(number, path)
