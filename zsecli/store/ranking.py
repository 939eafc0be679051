"""Ranking stores: for every query the gallery in order, with the scores."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from zsecli.errors import StoreError
from zsecli.store.hdf5 import Header, Writer, open_store, read_header, reading
from zsecli.store.items import Ints, Items
from zsecli.store.rows import Rows, create_rows, write_rows


class RankingWriter(Writer):
    """Writes a ranking in blocks of queries."""

    def __init__(
        self, path: Path, key: str, provenance: dict[str, Any], query: Items, gallery: Items, depth: int
    ) -> None:

        def create(file: h5py.File) -> None:
            query.write(file.create_group("query"))
            gallery.write(file.create_group("gallery"))
            create_rows(file, "indices", (len(query), depth), "i4", -1)
            create_rows(file, "scores", (len(query), depth), "f4", np.nan)

        super().__init__(path, "ranking", key, provenance, create)

    def write(self, start: int, indices: Ints, scores: NDArray[np.floating]) -> None:
        """Commit B queries from row `start`: indices (B, K) and scores (B, K), -1 and NaN where a pair is left out."""
        stop = start + len(indices)
        write_rows(self.file, "indices", slice(start, stop), indices)
        write_rows(self.file, "scores", slice(start, stop), scores)
        self.commit(stop)


@dataclass(frozen=True)
class Block:
    """A (Q, K) dataset of a ranking that is read piece by piece, as it may be larger than the memory.

    stop: its values are gallery rows below this, or -1; None: any.
    """

    data: Rows
    stop: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    def __getitem__(self, at: slice | int) -> NDArray[Any]:
        """The values of some queries (B, K), or of one (K,); StoreError where they are damaged."""
        if isinstance(at, int):
            return self[at : at + 1][0]
        values = self.data.read(at)
        if self.stop is not None and ((values < -1) | (values >= self.stop)).any():
            raise StoreError(f"{self.data.path}: ranks photos that it does not list", "delete it and make it again")
        return values


@dataclass
class Ranking:
    """An open ranking of Q queries over G photos, K deep.

    indices: (Q, K) int32 rows of `gallery`, best first; -1 behind the last pair that counts.
    scores: (Q, K) float32, higher is better; only scores of one row can be compared.
    """

    path: Path
    header: Header
    query: Items
    gallery: Items
    indices: Block
    scores: Block

    @property
    def depth(self) -> int:
        return int(self.indices.shape[1])

    def pictures(self) -> tuple[list[Path], list[Path]]:
        """The files of the sketches and of the photos; StoreError where the ranking does not say where they lie."""
        roots = self.header.provenance.get("roots")
        if roots is None:
            raise StoreError(f"{self.path}: does not say where its pictures lie", "delete it and rank again")
        sketches, photos = (
            [Path(root) / name for name in items.id]
            for root, items in zip(roots, (self.query, self.gallery), strict=True)
        )
        return sketches, photos

    @property
    def ignore_same(self) -> str | None:
        """The column whose equal values leave a pair out, or None."""
        return self.header.provenance.get("ignore_same")


@contextlib.contextmanager
def open_ranking(path: Path) -> Iterator[Ranking]:
    """A finished ranking store; StoreError where its parts do not belong together."""
    with open_store(path, "ranking") as file:
        with reading(path):
            query, gallery = Items.read(file["query"], path), Items.read(file["gallery"], path)
            indices, scores = file["indices"], file["scores"]
            if (
                not len(query) == len(indices) == file["rows"][()]
                or not indices.shape == scores.shape == (len(query), indices.shape[1])
                or indices.shape[1] > len(gallery)
                or (indices.dtype.kind, scores.dtype.kind) != ("i", "f")
            ):
                raise StoreError(
                    f"{path}: its ranks and its pictures do not belong together", "delete it and make it again"
                )
            header = read_header(file, path)
        ranks = Block(Rows(path, file, "indices"), len(gallery))
        yield Ranking(path, header, query, gallery, ranks, Block(Rows(path, file, "scores")))
