"""Edits of a store, written as bytes: what a fuzzer mutates, so that it gets behind the seal.

The first byte chooses a store of `fixtures/stores/v1.3`; then follow edits, each a byte for what is done and a byte for
where, and what that needs. Bytes that are not there are 0, so that any bytes are a program.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from helpers.stores import changing
from zsecli.store import seal

STORES = Path(__file__).parents[2] / "fixtures" / "stores" / "v1.3"
KINDS = {"dataset": "dataset", "features": "features", "features-ret": "features", "ranking": "ranking"}
MOST = 8  # edits of a program
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    4,
    5,
    7,
    127,
    -128,
    255,
    2**15,
    2**31 - 1,
    -(2**31),
    2**63 - 1,
    -(2**63),
    1e300,
    np.nan,
    np.inf,
)
TYPES = ("i1", "u1", "i2", "<i4", ">i4", "u4", "i8", "u8", "f2", "f4", ">f4", "f8", "?", "S3")
VALUES: tuple[Any, ...] = (
    *("", "1.0", "1.1", "1.2", "1.9", "2.0", "1", ".", "dataset", "features", "ranking", "25", "a\nb", "\x1b[2J"),
    *("../..", "/", "x" * 300, b"\xff\xfe", b"a\0b", 0, 1, -1, 7, 2**63 - 1, 0.5, np.nan, True, False),
    *(
        [],
        [7, 7],
        ["a", "b"],
        ["a"] * 7,
        [b"\xff"] * 7,
        np.zeros(7),
        np.zeros((7, 4)),
        np.zeros((0, 4)),
        np.zeros((7, 0)),
    ),
    *(np.zeros((3, 4), "i4"), np.zeros((3, 0), "i4"), np.zeros((7, 3, 4), "f2"), np.zeros((7, 1, 4), "f2")),
    *(h5py.Empty("f4"), h5py.Empty(h5py.string_dtype()), np.void(b"abc")),
)
KEYS = (
    *("argv", "model", "weights", "relation", "root", "roots", "source", "data", "preprocess", "by", "ignore_same"),
    *("origins", "shortlist", "center", "ann", "recall", "precision", "partition", "benchmark", "selection", "skipped"),
    *("layout", "flags", "dropped", "not_pictures", "versions", "warnings", "sketches", "photos", "inputs", "tree"),
)
PLAIN: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1e300,
        10**400,
        "",
        "x",
        "pixels",
        "small",
        "frozen:x",
        "nowhere.safetensors",
        "a\0b",
        "label",
    ),
    *("family", "instance", "unseen", "all", "ret", "rn", "sketchy-25", "\ud800", "\x1b[2J", "tree", "../..", "/"),
    *([], {}, [[]], [{}], [{}, {}], [None, None], ["tree", "tree"], ["tree"], [1, 2], ["a\0", "b"], {"a": 1}),
    *([["a", "b"]], [["a"]], [{"data": 1}, {"data": []}], [{"selection": "x"}, {"selection": []}], [1], ["x"]),
    *("cascade", 0.5, {"a": "b"}),
    *([{"partition": None}, {"partition": 5}], [{"benchmark": 5}, {"benchmark": "sketchy-25"}], {"x": {"y": [1]}}),
)


class Reader:
    """Numbers and bytes, taken from the front of an input."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def number(self) -> int:
        return (self.take(1) or b"\0")[0]

    def take(self, count: int) -> bytes:
        self.at += count
        return self.data[self.at - count : self.at]

    def one_of(self, choices: Any) -> Any:
        return choices[self.number() % len(choices)]

    def text(self) -> bytes:
        return self.take(self.number())


def _nodes(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visit(lambda name: found.append(name))
    return sorted(found)


def _put(file: h5py.File, name: str, value: Any) -> None:
    if name in file:
        del file[name]
    file[name] = value


def _json(file: h5py.File, reader: Reader) -> None:
    """Exchange a value of the provenance or the report, or the whole of it."""
    place = reader.one_of(("provenance", "provenance", "provenance", "report"))
    said = json.loads(file[place].asstr()[()])
    key, value = reader.one_of((*KEYS, "")), reader.one_of(PLAIN)
    said = {**said, key: value} if key else value
    _put(file, place, json.dumps(said))


def _element(file: h5py.File, name: str, reader: Reader) -> None:
    data = file[name]
    values = np.array(data[()], data.dtype).reshape(-1)
    number = reader.one_of(NUMBERS)
    values[reader.number() % len(values)] = np.array(number).astype(data.dtype)
    data[()] = values.reshape(data.shape)


def _shape(file: h5py.File, name: str, reader: Reader) -> None:
    shape = tuple(reader.number() % 12 for _ in range(reader.number() % 4))
    values = file[name][()]
    _put(file, name, np.resize(values, shape).astype(file[name].dtype))


def _move(file: h5py.File, name: str, reader: Reader) -> None:
    other = reader.one_of(_nodes(file))
    value = file[name][()]
    _put(file, other, value)


EDITS: tuple[Callable[[h5py.File, str, Reader], None], ...] = (
    lambda file, name, reader: file.pop(name),
    lambda file, name, reader: _put(file, name, reader.one_of(VALUES)),
    lambda file, name, reader: _put(file, name, reader.text()),
    lambda file, name, reader: file.attrs.__setitem__(reader.one_of(sorted(file.attrs)), reader.one_of(VALUES)),
    lambda file, name, reader: file.attrs.__setitem__(reader.one_of(sorted(file.attrs)), np.bytes_(reader.text())),
    lambda file, name, reader: file.attrs.__delitem__(reader.one_of(sorted(file.attrs))),
    lambda file, name, reader: _json(file, reader),
    _element,
    _shape,
    lambda file, name, reader: _put(file, name, file[name][()].astype(reader.one_of(TYPES))),
    _move,
    lambda file, name, reader: file.create_group(f"{name}/{reader.text().decode(errors='replace')}"),
    lambda file, name, reader: _put(file, name, [reader.text() for _ in range(reader.number() % 9)]),
)


def build(data: bytes, path: Path) -> str:
    """Make the store of a program at `path`; its kind.

    Edits that HDF5 does not take are left out. Checksums are made anew where they can be, and the seal always.
    """
    reader = Reader(data)
    name = reader.one_of(list(KINDS))
    shutil.copy(STORES / f"{name}.h5", path)
    with h5py.File(path, "r+") as file, np.errstate(all="ignore"):
        for _ in range(MOST):
            if not reader or not (nodes := _nodes(file)):
                break
            edit, node = reader.one_of(EDITS), reader.one_of(nodes)
            with contextlib.suppress(Exception):  # h5py and NumPy refuse in many ways
                edit(file, node, reader)
    try:
        with changing(path):
            pass
    except Exception:  # rows of a type that has no checksum: sealed as a stranger would, whole
        seal.add_seal(path, np.array([[0, 2**63]], "<u8"))
    return KINDS[name]
