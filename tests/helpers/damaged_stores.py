"""Stores that are not as specified, and a reader of all that is in one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from zsecli.store.dataset import read_dataset
from zsecli.store.features import open_features, read_skipped
from zsecli.store.hdf5 import open_store
from zsecli.store.ranking import open_ranking
from zsecli.store.seal import find_row_datasets

STORES = Path(__file__).parents[2] / "fixtures" / "stores"
V1, NEWEST = STORES / "v1", STORES / "v1.3"
Tamper = Callable[[h5py.File], None]


def read(path: Path, kind: str) -> None:
    """All of a store of `kind`."""
    with open_store(path, kind):
        pass
    if kind == "dataset":
        read_dataset(path)
    elif kind == "features":
        read_skipped(path)
        with open_features(path) as features:
            for name in ("ret", "tokens", "index"):
                features.read(name, slice(None))
    else:
        with open_ranking(path) as ranking:
            for block in (ranking.indices, ranking.scores):
                block[0:2], block[2:], block[0]


def put(name: str, data: Any) -> Tamper:
    def tamper(file: h5py.File) -> None:
        del file[name]
        if data is not None:
            file[name] = data

    return tamper


def attribute(name: str, value: Any) -> Tamper:
    def tamper(file: h5py.File) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return tamper


def group(name: str) -> Tamper:
    def tamper(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return tamper


HEADER = {
    "no schema": (attribute("zse-schema", None), "no zse store"),
    "another schema": (attribute("zse-schema", "pictures"), "no zse store"),
    "schemas": (attribute("zse-schema", ["dataset", "features"]), "no zse store"),
    "newer": (attribute("zse-schema-version", "2.0"), "version 2.0, this zse reads 1"),
    "no version": (attribute("zse-schema-version", None), "this zse reads 1"),
    "unfinished": (attribute("complete", False), "is not finished"),
    "no flag": (attribute("complete", None), "damaged"),
    "no key": (attribute("run-key", None), "damaged"),
    "no provenance": (put("provenance", None), "damaged"),
    "provenance no JSON": (put("provenance", "{"), "damaged"),
    "provenance a list": (put("provenance", "[1]"), "damaged"),
    "provenance a number": (put("provenance", 1), "damaged"),
    "provenance a group": (group("provenance"), "damaged"),
    "no rows": (put("rows", None), "damaged"),
    "rows too few": (put("rows", 2), "do not belong together"),
    "rows a list": (put("rows", [7, 7]), "damaged|do not belong together"),
}
TABLE = {  # the table's own name goes before these
    "no table": ("", None, "damaged"),
    "table a column": ("", [1, 2], "damaged"),
    "no id": ("id", None, "damaged"),
    "id numbers": ("id", np.arange(7), "damaged"),
    "id twice": ("id", ["a"] * 7, "do not belong together"),
    "id not UTF-8": ("id", [b"\xff"] * 7, "damaged"),
    "one id more": ("id", list("abcdefgh"), "do not belong together"),
    "modality 2": ("modality", np.full(7, 2, np.uint8), "do not belong together"),
    "modality one number": ("modality", 1, "damaged"),
    "part 5": ("part", np.full(7, 5, np.int8), "do not belong together"),
    "part -2": ("part", np.full(7, -2, np.int8), "do not belong together"),
    "hashes too short": ("sha256", np.zeros((7, 16), np.uint8), "do not belong together"),
    "hashes flat": ("sha256", np.zeros(7 * 32, np.uint8), "do not belong together"),
    "no classes": ("classes", None, "damaged"),
    "class beyond the last": ("label", np.full(7, 2, np.int32), "do not belong together"),
    "class -2": ("label", np.full(7, -2, np.int32), "do not belong together"),
    "class 0.5": ("label", np.full(7, 0.5), "do not belong together"),
    "classes missing rows": ("label", np.zeros(0, np.int32), "do not belong together"),
    "instances too few": ("instances", ["one"], "do not belong together"),
}
OWN = {
    "dataset": {
        "no name": (attribute("name", None), "damaged"),
        "no size": (put("items/size", None), "damaged"),
        "sizes too few": (put("items/size", np.arange(6)), "do not belong together"),
        "times a number": (put("items/mtime", 1), "damaged"),
        "report no JSON": (put("report", "?"), "damaged"),
        "no report": (put("report", None), "damaged"),
    },
    "features": {
        "no ret": (put("ret", None), "damaged.*ret"),
        "ret flat": (put("ret", np.zeros(7, "f4")), "do not belong together"),
        "ret a group": (group("ret"), "damaged"),
        "ret too few": (put("ret", np.zeros((6, 4), "f4")), "do not belong together"),
        "tokens of another width": (put("tokens", np.zeros((7, 3, 5), "f2")), "do not belong together"),
        "tokens flat": (put("tokens", np.zeros((7, 12), "f2")), "do not belong together"),
        "index of more tokens": (put("index", np.zeros((7, 3), "i2")), "do not belong together"),
        "index without tokens": (put("tokens", None), "do not belong together"),
        "no reasons": (put("skipped", None), "damaged"),
        "reasons too few": (put("skipped", ["", "a"]), "do not belong together"),
        "reasons a number": (put("skipped", 1), "damaged"),
    },
    "ranking": {
        "no indices": (put("indices", None), "damaged"),
        "no scores": (put("scores", None), "damaged"),
        "indices flat": (put("indices", np.zeros(3, "i4")), "do not belong together"),
        "indices fractions": (put("indices", np.zeros((3, 4))), "do not belong together"),
        "scores of another shape": (put("scores", np.zeros((3, 3), "f4")), "do not belong together"),
        "a row more": (put("indices", np.zeros((4, 4), "i4")), "do not belong together"),
        "photo beyond the last": (put("indices", np.full((3, 4), 4, "i4")), "photos that it does not list"),
        "photo -2": (put("indices", np.full((3, 4), -2, "i4")), "photos that it does not list"),
    },
}
CASES = [
    pytest.param(kind, tamper, text, id=f"{kind}: {name}")
    for kind, table in (("dataset", "items"), ("features", "items"), ("ranking", "gallery"))
    for name, (tamper, text) in (
        HEADER | {n: (put(f"{table}/{column}", data), text) for n, (column, data, text) in TABLE.items()} | OWN[kind]
    ).items()
]


def unread(path: Path) -> set[int]:
    """Bytes of a feature store's skipped rows, which nobody reads."""
    with h5py.File(path) as file:
        if "skipped" not in file:
            return set()
        places = set()
        for name in find_row_datasets(file):
            data = file[name]
            row, start = data.dtype.itemsize * math.prod(data.shape[1:]), data.id.get_offset()
            for skipped in np.flatnonzero(file["skipped"].asstr()[:] != "").tolist():
                places |= set(range(start + skipped * row, start + (skipped + 1) * row))
        return places
