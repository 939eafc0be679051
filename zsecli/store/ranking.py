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
from zsecli.store.header import Header, Writer, open_store, read_header
from zsecli.store.items import Ints, Items


class RankingWriter(Writer):
    """Writes a ranking in blocks of queries."""

    def __init__(
        self, path: Path, key: str, provenance: dict[str, Any], query: Items, gallery: Items, depth: int
    ) -> None:
        super().__init__(path, "ranking", key, provenance)
        if self.rows:
            return
        query.write(self.file.create_group("query"))
        gallery.write(self.file.create_group("gallery"))
        chunk = (max(1, min(len(query), 65536 // max(1, depth))), depth)
        self.file.create_dataset("indices", (len(query), depth), "i4", chunks=chunk, fillvalue=-1)
        self.file.create_dataset("scores", (len(query), depth), "f4", chunks=chunk, fillvalue=np.nan)
        self.file.flush()

    def write(self, start: int, indices: Ints, scores: NDArray[np.floating]) -> None:
        """Commit B queries from row `start`: indices (B, K) and scores (B, K), -1 and NaN where a pair is left out."""
        stop = start + len(indices)
        self.file["indices"][start:stop] = indices
        self.file["scores"][start:stop] = scores
        self.commit(stop)


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
    indices: h5py.Dataset
    scores: h5py.Dataset

    @property
    def depth(self) -> int:
        return int(self.indices.shape[1])

    @property
    def ignore_same(self) -> str | None:
        """The column whose equal values leave a pair out, or None."""
        return self.header.provenance.get("ignore_same")


@contextlib.contextmanager
def open_ranking(path: Path) -> Iterator[Ranking]:
    """A finished ranking store; StoreError where its parts do not belong together."""
    with open_store(path, "ranking") as file:
        missing = [n for n in ("query", "gallery", "indices", "scores") if n not in file]
        if missing:
            raise StoreError(f"{path}: {missing[0]} is missing", "make the ranking again")
        query, gallery = Items.read(file["query"], path), Items.read(file["gallery"], path)
        indices, scores = file["indices"], file["scores"]
        if (
            indices.shape != scores.shape
            or indices.ndim != 2
            or len(indices) != len(query)
            or indices.shape[1] > len(gallery)
        ):
            raise StoreError(f"{path}: its ranks and its pictures do not belong together", "make the ranking again")
        yield Ranking(path, read_header(file, path), query, gallery, indices, scores)
