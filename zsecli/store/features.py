"""Feature stores: [Ret] and tokens of every picture."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zsecli.errors import StoreError, ZseError
from zsecli.store.header import Header, Writer, open_store, read_header
from zsecli.store.items import Ints, Items

Floats = NDArray[np.floating]


class FeatureWriter(Writer):
    """Writes features batch by batch; rows that could not be computed stay empty and are marked so."""

    def __init__(
        self, path: Path, key: str, provenance: dict[str, Any], items: Items, width: int, tokens: int, kept: int | None
    ) -> None:
        """`width` D of a token; `tokens` 1 + T of a picture, 0 for none; `kept` T where some were dropped."""
        super().__init__(path, "features", key, provenance)
        if self.rows:
            return
        count = len(items)
        items.write(self.file.create_group("items"))
        make = self.file.create_dataset
        make("skipped", (count,), h5py.string_dtype("utf-8"))
        make("ret", (count, width), "f4", chunks=(max(1, min(count, 65536 // width)), width), fillvalue=np.nan)
        if tokens:
            make("tokens", (count, tokens, width), "f2", chunks=(1, tokens, width), fillvalue=np.nan)
        if kept is not None:
            make("index", (count, kept), "i2", chunks=(1, kept), fillvalue=-1)
        self.file.flush()

    def write(
        self, ids: list[str], reasons: list[str], ret: Floats, tokens: Floats | None = None, index: Ints | None = None
    ) -> None:
        """Commit the next B pictures.

        Args:
            ids: their names. reasons: why a picture has no features; "" for the G pictures that have.
            ret: (G, D) float32. tokens: (G, 1 + T, D), stored as float16. index: (G, T) grid places.

        Raises:
            ZseError: a value is not finite, or beyond float16; the picture is named.
        """
        good = [i for i, reason in enumerate(reasons) if not reason]
        columns: dict[str, NDArray[Any]] = {"ret": np.asarray(ret, np.float32)}
        if tokens is not None:
            with np.errstate(over="ignore"):
                columns["tokens"] = np.asarray(tokens).astype(np.float16)
        if index is not None:
            columns["index"] = np.asarray(index, np.int16)
        for name, values in columns.items():
            bad = ~np.isfinite(values).reshape(len(values), -1).all(1)
            if bad.any():
                raise ZseError(
                    f"{ids[good[bad.argmax()]]}: its {name} are not finite, or too large for float16",
                    "the model's weights are damaged, or it diverged in training",
                )
            for row, value in zip(good, values, strict=True):
                self.file[name][self.rows + row] = value
        stop = self.rows + len(ids)
        self.file["skipped"][self.rows : stop] = reasons
        self.commit(stop)

    def empty(self) -> bool:
        """Whether no picture at all has features."""
        return all(self.file["skipped"].asstr()[:])


@dataclass
class Features:
    """An open feature store; `items` are the pictures that have features, `rows` (N,) their rows in the file."""

    path: Path
    file: h5py.File
    header: Header
    items: Items
    rows: Ints

    @property
    def has_tokens(self) -> bool:
        return "tokens" in self.file

    @property
    def width(self) -> int:
        return int(self.file["ret"].shape[1])

    def take(self, keep: NDArray[np.bool_]) -> Features:
        """The same store, seen as if it held only the pictures of the mask `keep` (N,)."""
        at = np.flatnonzero(keep)
        return Features(self.path, self.file, self.header, self.items.take(at), self.rows[at])

    def read(self, name: str, at: slice | Ints) -> NDArray[Any]:
        """Rows `at` of the dataset `name` ("ret", "tokens", "index"), in that order."""
        rows, data = self.rows[at], self.file[name]
        out = np.empty((len(rows), *data.shape[1:]), data.dtype)
        # A list of rows handed to h5py is far slower than one read a run of neighbours.
        starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            data.read_direct(out, np.s_[rows[start] : rows[start] + stop - start], np.s_[start:stop])
        return out


@contextlib.contextmanager
def open_features(path: Path) -> Iterator[Features]:
    """A finished feature store; StoreError where its parts do not belong together."""
    with open_store(path, "features") as file:
        items = Items.read(file["items"], path) if "items" in file else None
        names = [n for n in ("ret", "tokens", "index", "skipped") if n in file]
        if items is None or "ret" not in names or any(len(file[n]) != len(items) for n in names):
            raise StoreError(f"{path}: its features and its pictures do not belong together", "make the store again")
        rows = np.flatnonzero([not reason for reason in file["skipped"].asstr()[:]])
        yield Features(path, file, read_header(file, path), items.take(rows), rows)


def skipped_in(path: Path) -> list[tuple[str, str]]:
    """(id, reason) of the pictures in a finished feature store that have no features."""
    with open_store(path, "features") as file:
        reasons = file["skipped"].asstr()[:]
        ids = Items.read(file["items"], path).id if any(reasons) else []
        return [(name, reason) for name, reason in zip(ids, reasons, strict=False) if reason]
