"""Feature stores: [Ret] and tokens of every picture."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zsecli.errors import StoreError, ZseError
from zsecli.store.hdf5 import Header, Writer, open_store, read_header, reading
from zsecli.store.items import Ints, Items
from zsecli.store.rows import Rows, create_rows, write_rows

Floats = NDArray[np.floating]
REASON = 128  # bytes kept of why a picture has no features
TYPES = {"ret": "f", "tokens": "f", "index": "i"}  # NumPy's kinds of the datasets of a row a picture


@dataclass(frozen=True)
class Embedded:
    """Features of B pictures: ret (B, R) float32; tokens (B, 1 + T, D) and index (B, T) where the model has them."""

    ret: Floats
    tokens: Floats | None = None
    index: Ints | None = None

    def rows(self, at: Ints) -> Embedded:
        return self._map(lambda name: None if getattr(self, name) is None else getattr(self, name)[at])

    @staticmethod
    def cat(parts: Sequence[Embedded]) -> Embedded:
        """The pictures of all `parts`, in order."""
        first = parts[0]
        return first._map(
            lambda name: None if getattr(first, name) is None else np.concatenate([getattr(x, name) for x in parts])
        )

    def _map(self, function: Callable[[str], Any]) -> Embedded:
        return Embedded(function("ret"), function("tokens"), function("index"))


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
        """Create the store.

        Args:
            width: R, of [Ret]. tokens: 1 + T of a picture, 0 for none. kept: T where some were dropped.
            token_width: D; None: that of [Ret].
        """

        def create(file: h5py.File) -> None:
            count = len(items)
            items.write(file.create_group("items"))
            text = h5py.string_dtype("utf-8", REASON)  # in its place from the start, as rows are
            file.create_dataset("skipped", data=np.zeros(count, text))
            create_rows(file, "ret", (count, width), "f4", np.nan)
            if tokens:
                create_rows(file, "tokens", (count, tokens, token_width or width), "f2", np.nan)
            if kept is not None:
                create_rows(file, "index", (count, kept), "i2", -1)

        super().__init__(path, "features", key, provenance, create)

    def write(
        self, ids: list[str], reasons: list[str], ret: Floats, tokens: Floats | None = None, index: Ints | None = None
    ) -> None:
        """Commit the next B pictures.

        Args:
            ids: their names. reasons: why a picture has no features; "" for the G pictures that have.
            ret: (G, R) float32. tokens: (G, 1 + T, D), stored as float16. index: (G, T) grid places.

        Raises:
            ZseError: a value is not finite, or beyond float16; the picture is named.
        """
        good = np.flatnonzero([not reason for reason in reasons])
        columns: dict[str, NDArray[Any]] = {"ret": np.asarray(ret, np.float32)}
        if tokens is not None:
            with np.errstate(over="ignore"):
                columns["tokens"] = np.asarray(tokens).astype(np.float16)
        if index is not None:
            columns["index"] = np.asarray(index, np.int16)
        for name, values in columns.items():
            bad = ~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
            if bad.any():
                raise ZseError(
                    f"{ids[good[bad.argmax()]]}: its {name} are not finite, or too large for float16",
                    "the model's weights are damaged, it diverged in training, or --precision fp16 is too narrow",
                )
            data = self.file[name]
            every = np.full((len(ids), *data.shape[1:]), data.fillvalue, data.dtype)
            every[good] = values
            write_rows(self.file, name, slice(self.rows, self.rows + len(ids)), every)
        stop = self.rows + len(ids)
        skipped = self.file["skipped"]
        skipped[self.rows : stop] = np.array([_cut(reason) for reason in reasons], skipped.dtype)
        self.commit(stop)

    def finish(self, part: bool = False) -> Path:
        """As of every store; ZseError where no picture at all has features, unless they are `part` of more."""
        reasons = self.file["skipped"].asstr()[:]
        if not part and all(reasons):
            first = zip(self.file["items/id"].asstr()[:3], reasons, strict=False)
            said = "; ".join(f"{name}: {why}" for name, why in first)
            raise ZseError(f"no picture can be used ({said})", "give pictures that other programs open")
        return super().finish()


def _cut(reason: str) -> bytes:
    """A reason in REASON bytes of UTF-8; the middle of a longer one is left out."""
    text, half = reason.encode(), REASON // 2
    if len(text) > REASON:
        text = f"{text[: half - 3].decode(errors='ignore')}…{text[-half:].decode(errors='ignore')}".encode()
    return text


@dataclass
class Features:
    """An open feature store.

    items: the pictures that have features. rows: (N,) their rows in the file.
    skipped: (id, reason) of the pictures that have none.
    """

    path: Path
    file: h5py.File
    header: Header
    items: Items
    rows: Ints
    skipped: list[tuple[str, str]] = field(default_factory=list)
    _opened: dict[str, Rows] = field(default_factory=dict)

    @property
    def has_tokens(self) -> bool:
        return "tokens" in self.file

    @property
    def width(self) -> int:
        """R, of [Ret]."""
        return int(self.file["ret"].shape[1])

    @property
    def token_width(self) -> int:
        """D, of a token; that of [Ret] where there are none."""
        return int(self.file["tokens"].shape[2]) if self.has_tokens else self.width

    def take(self, keep: NDArray[np.bool_]) -> Features:
        """The same store, seen as if it held only the pictures of the mask `keep` (N,)."""
        at = np.flatnonzero(keep)
        return Features(self.path, self.file, self.header, self.items.take(at), self.rows[at], self.skipped)

    def read(self, name: str, at: slice | Ints) -> NDArray[Any]:
        """Rows `at` of the dataset `name` ("ret", "tokens", "index"), in that order.

        Raises:
            StoreError: they are not what was written.
        """
        if name not in self._opened:
            self._opened[name] = Rows(self.path, self.file, name)
        data, wanted = self._opened[name], self.rows[at]
        out = np.empty((len(wanted), *data.shape[1:]), data.dtype)
        for start, run in runs(wanted):
            data.read(run, out[start : start + run.stop - run.start])
        return out


def runs(rows: Ints) -> Iterator[tuple[int, slice]]:
    """Rows (B,) as runs of neighbours, each behind its place: a list of rows handed to h5py is far slower.

    >>> list(runs(np.array([3, 4, 9])))
    [(0, slice(3, 5, None)), (2, slice(9, 10, None))]
    """
    starts = np.flatnonzero(np.diff(rows, prepend=-2) != 1)
    for start, stop in itertools.pairwise([*starts.tolist(), len(rows)]):
        yield start, slice(int(rows[start]), int(rows[start]) + stop - start)


@contextlib.contextmanager
def open_features(path: Path) -> Iterator[Features]:
    """A finished feature store; StoreError where its parts do not belong together."""
    with open_store(path, "features") as file:
        with reading(path):
            items = Items.read(file["items"], path)
            reasons = file["skipped"].asstr()[:]
            shapes = {name: file[name].shape for name in TYPES if name == "ret" or name in file}
            typed = all(file[name].dtype.kind == TYPES[name] for name in shapes)
            if not (len(items),) == reasons.shape == (file["rows"][()],) or not (typed and _fit(len(items), **shapes)):
                raise StoreError(
                    f"{path}: its features and its pictures do not belong together", "delete it and make it again"
                )
            header = read_header(file, path)
        rows = np.flatnonzero(reasons == "")
        skipped = [(name, str(reason)) for name, reason in zip(items.id, reasons, strict=True) if reason]
        yield Features(path, file, header, items.take(rows), rows, skipped)


def _fit(
    count: int, ret: tuple[int, ...], tokens: tuple[int, ...] | None = None, index: tuple[int, ...] | None = None
) -> bool:
    """Whether the shapes are ret (N, R), tokens (N, 1 + T, D) and index (N, T)."""
    return (
        len(ret) == 2
        and ret[0] == count
        and (tokens is None or (len(tokens) == 3 and tokens[0] == count and min(tokens) > 0))
        and (index is None or (tokens is not None and index == (count, tokens[1] - 1)))
    )


def like(shard: Path, path: Path, key: str, items: Items) -> FeatureWriter:
    """The writer of the store `path` of which the finished store `shard` is a part."""
    with open_features(shard) as opened:
        count = opened.file["tokens"].shape[1] if opened.has_tokens else 0
        kept = count - 1 if "index" in opened.file else None
        return FeatureWriter(path, key, opened.header.provenance, items, opened.width, count, kept, opened.token_width)


def skipped_in(path: Path) -> list[tuple[str, str]]:
    """(id, reason) of the pictures in a finished feature store that have no features."""
    with open_features(path) as features:
        return features.skipped
