"""Stores made by a stranger who knows HDF5: whole and sealed, but made of what no store is made of."""

from __future__ import annotations

import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import Zse, changing, reseal
from test_store_damage import NEWEST, read

from zsecli.errors import StoreError
from zsecli.store import structure

Trick = Callable[[h5py.File], None]
SECRET = "secret.h5"  # a file of its owner's, beside the store


def linked(name: str, link: object) -> Trick:
    def trick(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = link

    return trick


def made(name: str, *shape: int, **options: object) -> Trick:
    def trick(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file.create_dataset(name, shape, **{"dtype": "f4", **options})

    return trick


def external(file: h5py.File) -> None:
    del file["ret"]
    file.create_dataset("ret", (7, 4), "f4", external=[(SECRET, 0, 112)])


def virtual(file: h5py.File) -> None:
    del file["ret"]
    layout = h5py.VirtualLayout((7, 4), "f4")
    layout[:] = h5py.VirtualSource(SECRET, "ret", (7, 4), "f4")
    file.create_virtual_dataset("ret", layout)


def itself(file: h5py.File) -> None:
    file["items/more"] = file["items"]


def references(file: h5py.File) -> None:
    file["more"] = np.array([file["items"].ref], h5py.ref_dtype)


def many(file: h5py.File) -> None:
    for number in range(structure.MOST):
        file.create_group(f"more/{number}")


def deep(file: h5py.File) -> None:
    file.create_group("/".join(["a"] * 5000))


def named_type(file: h5py.File) -> None:
    file["more"] = np.dtype("f4")


TRICKS: dict[str, tuple[Trick, str]] = {
    "provenance by an external link": (linked("provenance", h5py.ExternalLink(SECRET, "/provenance")), "a link"),
    "a table by an external link": (linked("items", h5py.ExternalLink(SECRET, "/items")), "a link"),
    "an external link that leads nowhere": (linked("more", h5py.ExternalLink("/dev/zero", "/")), "a link"),
    "a soft link": (linked("more", h5py.SoftLink("/items")), "a link"),
    "a soft link to itself": (linked("more", h5py.SoftLink("/more")), "a link"),
    "data in another file": (external, "another file"),
    "virtual data": (virtual, "another file"),
    "a group within itself": (itself, "two names"),
    "references": (references, "a type"),
    "records": (made("more", 3, dtype=[("a", "i4"), ("b", "f8")]), "a type"),
    "arrays in cells": (made("more", 3, dtype=np.dtype(("f4", (2, 2)))), "a type"),
    "lists of numbers": (made("more", 3, dtype=h5py.vlen_dtype("i4")), "a type"),
    "complex numbers": (made("more", 3, dtype="c8"), "a type"),
    "a type as an object": (named_type, "neither"),
    "compressed": (made("more", 300, compression="gzip"), "filtered"),
    "shuffled": (made("more", 300, shuffle=True), "filtered"),
    "names without end": (made("items/id", 10**15, dtype=h5py.string_dtype()), "larger than what is stored"),
    "names in chunks that are not there": (
        made("items/id", 10**15, dtype=h5py.string_dtype(), chunks=(10,)),
        "larger than what is stored",
    ),
    "classes without end": (made("items/label", 10**12, dtype="i4", chunks=(7,)), "larger than what is stored"),
    "a picture of petabytes": (made("tokens", 7, 10**8, 10**7, dtype="f2", chunks=(1, 8, 8)), "bytes"),
    "a chunk of gigabytes": (
        made("tokens", 7, 3, 4, dtype="f8", chunks=(10**6, 30, 10), maxshape=(None,) * 3),
        "bytes",
    ),
    "more pictures than names": (made("ret", 10**15, 4, chunks=(7, 4)), "do not belong together"),
    "objects without end": (many, "more than"),
    "groups without end": (deep, "damaged"),
}


def harm(folder: Path, name: str) -> Path:
    """A feature store in `folder` with this trick, sealed."""
    path = folder / "a.h5"
    shutil.copy(NEWEST / "features.h5", folder / SECRET)
    shutil.copy(NEWEST / "features.h5", path)
    with h5py.File(path, "r+") as file:
        TRICKS[name][0](file)
    reseal(path)
    return path


@pytest.mark.parametrize("name", TRICKS)
def test_a_store_made_to_do_harm(tmp_path: Path, name: str) -> None:
    path = harm(tmp_path, name)
    tracemalloc.start()
    with pytest.raises(StoreError, match=TRICKS[name][1]) as error:
        read(path, "features")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in error.value.message
    assert peak < 50e6


SAYS = {  # in the provenance of a ranking
    "half a character": ('{"model": "a\\ud800b"}', "says model"),
    "half a character for a byte": ('{"model": "a\\udcffb"}', "says model"),
    "half a character in a data set's name": ('{"origins": [{"data": "\\ud800"}, {}]}', "says origins"),
    "half a character in a folder": ('{"roots": ["\\ud800", ""]}', "says roots"),
    "a zero byte in a folder": ('{"roots": ["\\u0000", ""]}', "says roots"),
    "a model that is a list": ('{"model": [1]}', "says model"),
    "another way to rank": ('{"by": ["cascade"]}', "says by"),
    "a flag that is text": ('{"center": "no"}', "says center"),
    "a share that is no number": ('{"recall": NaN}', "not JSON"),
    "a share without end": ('{"recall": 1e999}', "not JSON"),
    "a share of thousands of digits": ('{"recall": %s}' % ("9" * 4000), "says recall"),
    "no number that nobody asks for": ('{"more": [Infinity]}', "not JSON"),
}


def says(store: Path, provenance: str) -> None:
    shutil.copy(NEWEST / "ranking.h5", store)
    with changing(store) as file:
        del file["provenance"]
        file["provenance"] = provenance


@pytest.mark.parametrize("name", SAYS)
def test_a_provenance_that_cannot_be(zse: Zse, tmp_path: Path, name: str) -> None:
    says(tmp_path / "a.h5", SAYS[name][0])
    for words in (["evaluate", "a.h5", "--json"], ["evaluate", "a.h5", "--csv"], ["inspect", "a.h5", "--json"]):
        zse(*words).refused(3, "a.h5: damaged", SAYS[name][1])


def test_a_folder_s_name_need_not_be_text(zse: Zse, tmp_path: Path) -> None:
    says(tmp_path / "a.h5", '{"roots": ["caf\\udce9", ""]}')
    zse("inspect", "a.h5", "--json").ok()


def test_it_is_said_in_two_lines(zse: Zse, tmp_path: Path) -> None:
    shutil.copy(NEWEST / "features.h5", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["more"] = h5py.ExternalLink("/etc/passwd", "/")
    reseal(tmp_path / "a.h5")
    for words in (["inspect", "a.h5"], ["inspect", "a.h5", "--verify"], ["match", "a.h5"]):
        zse(*words).refused(3, "a.h5: damaged: /more is a link to another place")
