"""Stores made by a stranger who knows HDF5: sealed, but made of what no store is made of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from helpers.damaged_stores import NEWEST
from helpers.stores import reseal
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
    for number in range(structure.MOST_NODES):
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
