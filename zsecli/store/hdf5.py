"""HDF5 files that are stores: opened, checked, and their header read.

docs/stores.md is the specification.
"""

from __future__ import annotations

import contextlib
import errno
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import h5py

from zsecli.data.provenance import Header, check_provenance
from zsecli.errors import StoreError, ZseError, get_errno, system_error
from zsecli.runtime.files import partial_path
from zsecli.store import seal, structure

VERSION = "1.3"
UNSEALED = ("1.0", "1.1")  # versions that had no checksums
KINDS = ("dataset", "features", "ranking")
TEXT = h5py.string_dtype("utf-8")
# What h5py raises where a file is damaged.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)
DELETE = "delete it and make it again"


@contextlib.contextmanager
def report_damage(path: object) -> Iterator[None]:
    """Turn what h5py raises where a file is damaged, which may be nearly anything, into a StoreError."""
    try:
        yield
    except DAMAGE as error:
        raise StoreError(f"{path}: damaged: {error}", DELETE) from error


@contextlib.contextmanager
def open_store(path: Path, kind: str | None = None) -> Iterator[h5py.File]:
    """A finished store, open for reading; read from it within `report_damage`.

    Args:
        kind: which kind it must be; None: any.

    Raises:
        StoreError: it is missing, no HDF5 file, unfinished, of another kind or of a newer major version, changed since
            it was written, or has content that no store has.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such store", _suggest_store(path))
    is_sealed = seal.is_sealed(path)
    with report_damage(path):
        try:
            file = open_to_read(path)
        except OSError as error:
            raise explain_error(error, path) from error
    with file:
        _check_schema(file, path)
        header = read_header(file, path)
        if kind is not None and header.schema != kind:
            raise StoreError(
                f"{path}: is a {header.schema} store, where a {kind} store is needed", f"zse inspect {path} says more"
            )
        if not header.complete:
            raise StoreError(f"{path}: is not finished", "run its command again: it goes on where it stopped")
        if not is_sealed and header.version not in UNSEALED:
            raise StoreError(f"{path}: damaged: it has lost its seal", DELETE)
        yield file


def open_to_read(path: Path) -> h5py.File:
    """An HDF5 file without HDF5's own lock.

    HDF5 opens a file that this process has open already in the same way only: then it is opened with a lock.
    """
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking flag" not in str(error):
            raise
    return h5py.File(path, "r")


def open_to_write(path: Path, mode: str) -> h5py.File:
    """An HDF5 file without HDF5's own lock and without its buffer of rows: where the disk is full it would crash."""
    return h5py.File(path, mode, driver=_unbuffered_driver(), locking=False)


@cache
def _unbuffered_driver() -> str:
    """The name under which HDF5's usual driver without a buffer is registered, for this process."""
    h5py.register_driver("zse-direct", lambda access: access.set_sieve_buf_size(0))
    return "zse-direct"


def _check_schema(file: h5py.File, path: Path) -> None:
    """Refuse a file that is no store, of a newer major version, or has content that no store has.

    Raises:
        StoreError: it is.
    """
    with report_damage(path):
        schema = str(file.attrs.get("zse-schema", ""))
        version = str(file.attrs.get("zse-schema-version", ""))
        if schema not in KINDS:
            raise StoreError(f"{path}: an HDF5 file, but no zse store", "give a file that a zse command printed")
        if version.split(".")[0] != VERSION.split(".")[0]:
            raise StoreError(
                f"{path}: {schema} store of version {version}, this zse reads {VERSION}", "install a newer zse"
            )
        structure.check_structure(file)


def read_header(file: h5py.File, path: Path) -> Header:
    """The header of a file that `open_store` has opened; StoreError where it is damaged."""
    with report_damage(path):
        schema = str(file.attrs["zse-schema"])
        provenance = dict(json.loads(file["provenance"].asstr()[()]))
        check_provenance(schema, provenance)
        return Header(
            schema=schema,
            version=str(file.attrs["zse-schema-version"]),
            complete=bool(file.attrs["complete"]),
            run_key=str(file.attrs["run-key"]),
            created_by=str(file.attrs["created-by"]),
            provenance=provenance,
        )


def is_up_to_date(path: Path, kind: str, key: str) -> bool:
    """Whether `path` is a finished store of this kind with the run key `key`."""
    return read_current_header(path, kind, key) is not None


def read_current_header(path: Path, kind: str, key: str) -> Header | None:
    """The header of a finished store of this kind with the run key `key`; None where `path` is anything else."""
    if not path.is_file():
        return None
    try:
        with open_store(path, kind) as file:
            header = read_header(file, path)
    except StoreError:
        return None
    return header if header.run_key == key else None


def may_be_store(path: Path, kind: str) -> bool:
    """Whether a file is a store of `kind`, or one so damaged that it does not say what it is."""
    if not h5py.is_hdf5(path):
        return False
    try:
        seal.is_sealed(path)  # first, as HDF5's library may crash on damage
        with open_to_read(path) as file:
            return str(file.attrs.get("zse-schema", "")) == kind
    except (StoreError, *DAMAGE):
        return True


def _suggest_store(path: Path) -> str:
    """What to do where there is no store."""
    if partial_path(path).exists():
        return f"{partial_path(path)} is unfinished: run its command again"
    return "look for the path that the command printed when it was made"


def explain_error(error: BaseException, path: Path) -> ZseError:
    """An error of the system or of HDF5 in words."""
    number = get_errno(error)
    # FileExistsError: it was not there a moment ago, or its folder is a file
    if number == errno.EAGAIN or (number == errno.EEXIST and path.exists()):
        return StoreError(f"{path}: another zse is writing it", "wait for it")
    if "signature not found" in str(error):
        return StoreError(f"{path}: not an HDF5 file", "give a file that a zse command printed")
    if number is None:  # HDF5's own
        return StoreError(f"{path}: damaged: {error}", "delete it and make it again")
    return system_error(number, path)
