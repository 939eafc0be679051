"""Feature stores: [Ret] and tokens of every picture."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zsecli.arrays import Array, Floats, Ints, Mask
from zsecli.data.items import Items
from zsecli.data.provenance import Header
from zsecli.errors import StoreError, ZseError
from zsecli.store.hdf5 import open_store, read_header, report_damage
from zsecli.store.items import read_items, write_items
from zsecli.store.rows import Rows, create_rows, write_rows
from zsecli.store.writer import Writer

REASON = 128  # bytes of the reason why a picture has no features
TYPES = {"ret": "f", "tokens": "f", "index": "i"}  # NumPy's kinds of the datasets with a row a picture


class FeatureWriter(Writer):
    """Writes features batch by batch; rows that could not be computed stay empty and are marked so."""

    def __init__(
        self,
        path: Path,
        key: str,
        provenance: dict[str, Any],
        items: Items,
        width: int,
        tokens: int,
        kept: int | None,
        token_width: int | None = None,
    ) -> None:
        """Begin or continue a feature store.

        Args:
            width: R of [Ret].
            tokens: 1 + T of a picture; 0 for none.
            kept: T where some were dropped; None where none was.
            token_width: D of a token; None: that of [Ret].
        """

        def create(file: h5py.File) -> None:
            count = len(items)
            write_items(items, file.create_group("items"))
            reason = h5py.string_dtype("utf-8", REASON)  # of fixed size, so that its space is allocated, as rows' is
            file.create_dataset("skipped", data=np.zeros(count, reason))
            create_rows(file, "ret", (count, width), "f4", np.nan)
            if tokens:
                create_rows(file, "tokens", (count, tokens, token_width or width), "f2", np.nan)
            if kept is not None:
                create_rows(file, "index", (count, kept), "i2", -1)

        super().__init__(path, "features", key, provenance, create)

    def write(
        self, ids: list[str], reasons: list[str], ret: Floats, tokens: Floats | None = None, index: Ints | None = None
    ) -> None:
        """Commit the next B pictures, G of which have features.

        Args:
            ids: their names.
            reasons: why a picture has no features; "" for those that have.
            ret: (G, R) float32.
            tokens: (G, 1 + T, D), stored as float16.
            index: (G, T) grid cells.

        Raises:
            ZseError: a value is not finite, or beyond float16; the picture is named.
        """
        has_features = np.flatnonzero([not reason for reason in reasons])
        columns: dict[str, Array] = {"ret": np.asarray(ret, np.float32)}
        if tokens is not None:
            with np.errstate(over="ignore"):
                columns["tokens"] = np.asarray(tokens).astype(np.float16)
        if index is not None:
            columns["index"] = np.asarray(index, np.int16)
        stop = self.rows + len(ids)
        for name, values in columns.items():
            infinite = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            if infinite.any():
                raise ZseError(
                    f"{ids[has_features[infinite.argmax()]]}: its {name} are not finite, or too large for float16",
                    "the model's weights are damaged, it diverged in training, or --precision fp16 is too narrow",
                )
            data = self.file[name]
            rows = np.full((len(ids), *data.shape[1:]), data.fillvalue, data.dtype)
            rows[has_features] = values
            write_rows(self.file, name, slice(self.rows, stop), rows)
        skipped = self.file["skipped"]
        skipped[self.rows : stop] = np.array([_shorten(reason) for reason in reasons], skipped.dtype)
        self.commit(stop)

    def finish(self, is_shard: bool = False) -> Path:
        """Finish the store; ZseError where no picture at all has features, unless it is a shard of a larger one."""
        reasons = self.file["skipped"].asstr()[:]
        if not is_shard and all(reasons):
            first = zip(self.file["items/id"].asstr()[:3], reasons, strict=False)
            listed = "; ".join(f"{name}: {reason}" for name, reason in first)
            raise ZseError(f"no picture can be used ({listed})", "give pictures that other programs open")
        return super().finish()


def _shorten(reason: str) -> bytes:
    """A reason in REASON bytes of UTF-8; the middle of a longer one is left out."""
    text = reason.encode()
    if len(text) <= REASON:
        return text
    half = REASON // 2
    begin, end = text[: half - 3], text[-half:]
    return f"{begin.decode(errors='ignore')}…{end.decode(errors='ignore')}".encode()


@dataclass(kw_only=True)
class Features:
    """An open feature store."""

    path: Path
    file: h5py.File
    header: Header
    items: Items  # the pictures that have features
    rows: Ints  # (N,) rows of `items` in the file
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (id, reason) of the pictures without features
    _datasets: dict[str, Rows] = field(default_factory=dict)

    @property
    def has_tokens(self) -> bool:
        return "tokens" in self.file

    @property
    def width(self) -> int:
        """R of [Ret]."""
        return int(self.file["ret"].shape[1])

    @property
    def token_width(self) -> int:
        """D of a token; R where there are none."""
        return int(self.file["tokens"].shape[2]) if self.has_tokens else self.width

    def take(self, mask: Mask) -> Features:
        """The same store, seen as if it held only the pictures of a mask (N,)."""
        rows = np.flatnonzero(mask)
        return Features(
            path=self.path,
            file=self.file,
            header=self.header,
            items=self.items.take(rows),
            rows=self.rows[rows],
            skipped=self.skipped,
        )

    def read(self, name: str, rows: slice | Ints) -> Array:
        """The values (B, ...) of B pictures, in the given order.

        Args:
            name: of the dataset: "ret", "tokens" or "index".
            rows: of `items`.

        Raises:
            StoreError: they are not what was written.
        """
        if name not in self._datasets:
            self._datasets[name] = Rows(self.path, self.file, name)
        data = self._datasets[name]
        file_rows = self.rows[rows]
        out = np.empty((len(file_rows), *data.shape[1:]), data.dtype)
        for start, run in find_runs(file_rows):
            data.read(run, out[start : start + run.stop - run.start])
        return out


def find_runs(rows: Ints) -> Iterator[tuple[int, slice]]:
    """Rows (B,) as runs of neighbours, each behind its position: a list of rows handed to h5py is far slower.

    >>> list(find_runs(np.array([3, 4, 9])))
    [(0, slice(3, 5, None)), (2, slice(9, 10, None))]
    """
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    for start, stop in itertools.pairwise([*starts.tolist(), len(rows)]):
        first = int(rows[start])
        yield start, slice(first, first + stop - start)


@contextlib.contextmanager
def open_features(path: Path) -> Iterator[Features]:
    """A finished feature store; StoreError where its datasets do not belong together."""
    with open_store(path, "features") as file:
        with report_damage(path):
            items = read_items(file["items"], path)
            reasons = file["skipped"].asstr()[:]
            has_rows = (len(items),) == reasons.shape == (file["rows"][()],)
            header = read_header(file, path)
            if not has_rows or not _has_valid_rows(file, len(items), header.provenance):
                raise StoreError(
                    f"{path}: its features and its pictures do not belong together", "delete it and make it again"
                )
        rows = np.flatnonzero(reasons == "")
        skipped = [(name, str(reason)) for name, reason in zip(items.id, reasons, strict=True) if reason]
        yield Features(path=path, file=file, header=header, items=items.take(rows), rows=rows, skipped=skipped)


def _retrieves_by_own_vector(provenance: Mapping[str, Any]) -> bool:
    """Whether the model of a feature store retrieves by a vector that is none of its tokens."""
    try:
        config = json.loads(str(provenance.get("config", "{}")))
        return bool(config["retrieval"]["kind"] == "head")
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _has_valid_rows(file: h5py.File, count: int, provenance: Mapping[str, Any]) -> bool:
    """Whether there are ret (N, R), and perhaps tokens (N, 1 + T, D) and index (N, T), for N pictures."""
    data = {name: file[name] for name in TYPES if name == "ret" or name in file}
    if any(values.dtype.kind != TYPES[name] for name, values in data.items()):
        return False
    shape = data["ret"].shape
    if len(shape) != 2 or shape[0] != count:
        return False
    if "tokens" not in data:
        return "index" not in data
    tokens = data["tokens"].shape
    if len(tokens) != 3 or tokens[0] != count or tokens[1] == 0:
        return False
    if tokens[2] != shape[1] and not _retrieves_by_own_vector(provenance):
        return False
    return "index" not in data or data["index"].shape == (count, tokens[1] - 1)


def writer_for_merge(shard: Path, path: Path, key: str, items: Items) -> FeatureWriter:
    """The writer of the store `path`, with rows as those of the finished store `shard`, which is a part of it."""
    with open_features(shard) as features:
        tokens = features.file["tokens"].shape[1] if features.has_tokens else 0
        kept = tokens - 1 if "index" in features.file else None
        return FeatureWriter(
            path, key, features.header.provenance, items, features.width, tokens, kept, features.token_width
        )


def read_skipped(path: Path) -> list[tuple[str, str]]:
    """(id, reason) of the pictures in a finished feature store that have no features."""
    with open_features(path) as features:
        return features.skipped
