"""Ranking stores: for every query the gallery in order, with the scores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from zsecli.arrays import Array, Floats, Ints
from zsecli.data.items import Items
from zsecli.data.provenance import Header
from zsecli.errors import StoreError
from zsecli.store.hdf5 import open_store, read_header, report_damage
from zsecli.store.items import read_items, write_items
from zsecli.store.rows import Rows, create_rows, write_rows
from zsecli.store.writer import Writer


class RankingWriter(Writer):
    """Writes a ranking in blocks of queries."""

    def __init__(
        self, path: Path, key: str, provenance: dict[str, Any], query: Items, gallery: Items, depth: int
    ) -> None:
        """Begin or continue a ranking of `gallery` for each of `query`, `depth` photos deep."""

        def create(file: h5py.File) -> None:
            write_items(query, file.create_group("query"))
            write_items(gallery, file.create_group("gallery"))
            create_rows(file, "indices", (len(query), depth), "i4", -1)
            create_rows(file, "scores", (len(query), depth), "f4", np.nan)

        super().__init__(path, "ranking", key, provenance, create)

    def write(self, start: int, indices: Ints, scores: Floats) -> None:
        """Commit B queries from row `start`: indices (B, K) and scores (B, K), -1 and NaN where a pair is left out."""
        stop = start + len(indices)
        write_rows(self.file, "indices", slice(start, stop), indices)
        write_rows(self.file, "scores", slice(start, stop), scores)
        self.commit(stop)


@dataclass(frozen=True)
class Block:
    """A (Q, K) dataset of a ranking that is read in blocks, as it may be larger than the memory."""

    data: Rows
    stop: int | None = None  # its values are gallery rows below this, or -1; None: any values

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __getitem__(self, queries: slice | int) -> Array:
        """The values of several queries (B, K), or of one (K,); StoreError where they are damaged."""
        if isinstance(queries, int):
            return self[queries : queries + 1][0]
        values = self.data.read(queries)
        if self.stop is not None and ((values < -1) | (values >= self.stop)).any():
            raise StoreError(f"{self.data.path}: ranks photos that it does not list", "delete it and make it again")
        return values


@dataclass(kw_only=True)
class Ranking:
    """An open ranking of Q queries over G photos, K deep."""

    path: Path
    header: Header
    query: Items
    gallery: Items
    indices: Block  # (Q, K) int32 rows of `gallery`, best first; -1 behind the last photo that takes part
    scores: Block  # (Q, K) float32, higher is better; only scores of one row can be compared

    @property
    def depth(self) -> int:
        return int(self.indices.shape[1])

    def pictures(self) -> tuple[list[Path], list[Path]]:
        """The files of the sketches and of the photos; StoreError where the ranking does not say where they are."""
        roots = self.header.provenance.get("roots")
        if roots is None:
            raise StoreError(f"{self.path}: does not say where its pictures lie", "delete it and rank again")
        sketch_root, photo_root = map(Path, roots)
        sketches = [sketch_root / name for name in self.query.id]
        photos = [photo_root / name for name in self.gallery.id]
        return sketches, photos

    @property
    def ignore_same(self) -> str | None:
        """The column whose equal values leave a pair out, or None."""
        return self.header.provenance.get("ignore_same")


@contextlib.contextmanager
def open_ranking(path: Path) -> Iterator[Ranking]:
    """A finished ranking store; StoreError where its datasets do not belong together."""
    with open_store(path, "ranking") as file:
        with report_damage(path):
            query, gallery = read_items(file["query"], path), read_items(file["gallery"], path)
            if not _has_valid_rows(file, len(query), len(gallery)):
                raise StoreError(
                    f"{path}: its ranks and its pictures do not belong together", "delete it and make it again"
                )
            header = read_header(file, path)
        yield Ranking(
            path=path,
            header=header,
            query=query,
            gallery=gallery,
            indices=Block(Rows(path, file, "indices"), len(gallery)),
            scores=Block(Rows(path, file, "scores")),
        )


def _has_valid_rows(file: h5py.File, queries: int, photos: int) -> bool:
    """Whether indices and scores are (Q, K) for Q queries, with K no more than there are photos."""
    indices, scores = file["indices"], file["scores"]
    if not queries == len(indices) == file["rows"][()]:
        return False
    if indices.shape != scores.shape or len(indices.shape) != 2 or indices.shape[1] > photos:
        return False
    return bool((indices.dtype.kind, scores.dtype.kind) == ("i", "f"))
