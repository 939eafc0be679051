"""Whatever lies in a file, a reader says StoreError and names the file."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers.damaged_stores import (
    CASES,
    NEWEST,
    OWN,
    V1,
    Tamper,
    read,
    unread,
)
from helpers.stores import reseal
from zsecli.errors import UNUSABLE, StoreError
from zsecli.store.writer import check_target


@pytest.mark.parametrize(("kind", "tamper", "text"), CASES)
def test_a_store_that_is_not_as_specified(tmp_path: Path, kind: str, tamper: Tamper, text: str) -> None:
    path = tmp_path / "a store.h5"
    shutil.copy(V1 / f"{kind}.h5", path)
    read(path, kind)
    with h5py.File(path, "r+") as file:
        tamper(file)
    refused(path, kind, text)


def refused(path: Path, kind: str, text: str) -> StoreError:
    with pytest.raises(StoreError, match=text) as error:
        read(path, kind)
    assert str(path) in error.value.message
    assert error.value.hint
    assert error.value.code == UNUSABLE
    return error.value


@pytest.mark.parametrize("kind", OWN)
def test_a_newer_minor_version_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.h5"
    shutil.copy(V1 / f"{kind}.h5", path)
    with h5py.File(path, "r+") as file:
        file.attrs["zse-schema-version"] = "1.9"
        file["something"] = "new"
    refused(path, kind, "lost its seal")
    reseal(path)
    read(path, kind)


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("wanted", OWN)
def test_a_store_of_another_kind_is_refused(kind: str, wanted: str) -> None:
    if kind != wanted:
        error = refused(V1 / f"{kind}.h5", wanted, f"is a {kind} store, where a {wanted} store is needed")
        assert "zse inspect" in error.hint


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "no such store"),
        (b"", "not an HDF5 file"),
        (b"path,modality,class\n", "not an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n", "damaged|not an HDF5 file"),
    ],
)
@pytest.mark.parametrize("kind", OWN)
def test_a_file_that_is_no_store(tmp_path: Path, kind: str, data: bytes | None, text: str) -> None:
    path = tmp_path / "a.h5"
    if data is not None:
        path.write_bytes(data)
    refused(path, kind, text)


def test_a_folder_and_a_foreign_hdf5_file(tmp_path: Path) -> None:
    refused(tmp_path, "features", "no such store")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tokens"] = np.zeros(3)
    refused(tmp_path / "a.h5", "features", "an HDF5 file, but no zse store")


@pytest.mark.parametrize("kind", OWN)
def test_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    data, path = (V1 / f"{kind}.h5").read_bytes(), tmp_path / "a.h5"
    for length in random.Random(kind).sample(range(len(data)), 20):
        path.write_bytes(data[:length])
        refused(path, kind, "not an HDF5 file|damaged")


@pytest.mark.parametrize("kind", OWN)
def test_a_flipped_bit_anywhere_is_found(tmp_path: Path, kind: str) -> None:
    """Before HDF5 sees it, which dies on some, or never returns."""
    whole, path, chance = NEWEST / f"{kind}.h5", tmp_path / "a.h5", random.Random(kind)
    data, spared = whole.read_bytes(), unread(whole)
    for at in range(0, len(data), 11):
        if at not in spared:
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
            with pytest.raises(StoreError):
                read(path, kind)
            if at >= 8:  # HDF5's signature
                check_target(path, kind, True)  # it may be made again in this place


def test_damage_met_while_reading(tmp_path: Path) -> None:
    """The header is whole, the rows are not: said by the readers of rows, too."""
    for kind, name in (("features", "tokens"), ("ranking", "scores")):
        path = tmp_path / f"{kind}.h5"
        with h5py.File(V1 / f"{kind}.h5") as file:
            place = file[name].id.get_chunk_info(0).byte_offset
        data = (V1 / path.name).read_bytes()
        tree = data.rindex(b"TREE", 0, place)  # the chunks' index
        path.write_bytes(data[:tree] + b"EERT" + data[tree + 4 :])
        refused(path, kind, "damaged")
