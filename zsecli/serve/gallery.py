"""The photos that are searched: their [Ret] in memory, their names and groups, and nothing of their files."""

from __future__ import annotations

import os.path
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Floats32, Ints64
from zsecli.data.items import PHOTO
from zsecli.errors import StoreError
from zsecli.retrieval.ret_vectors import read_unit_ret
from zsecli.store.features import Features


@dataclass(frozen=True)
class Ranked:
    """Photos in order.

    rows: (K,) int64, their rows in the gallery. scores: (K,) float32, best first.
    """

    rows: Ints64
    scores: Floats32


class Gallery:
    """N photos of an open feature store.

    features: the store, of which only the photos are seen. vectors: (N, D) float32, [Ret] at length 1.
    names: what people call them, paths below the folder that holds all. files: where they are.
    groups: (N,) int32, rows of `group_names`, -1 where a photo has none: its class, or else its folder.
    """

    def __init__(self, features: Features, name: str) -> None:
        """StoreError where the store holds no photo, or a [Ret] that is no number."""
        self.name = name
        self.features = features.take(features.items.modality == PHOTO)
        items = self.features.items
        if not len(items):
            raise StoreError(f"{features.path}: holds no photo", "zse draw FOLDER embeds the photos of a folder")
        self.vectors = read_unit_ret(self.features, slice(None), np.zeros(features.width, np.float32))
        root = Path(str(features.header.provenance.get("root", "")))
        self.files = [root / name for name in items.id]
        self.names = _below_common_folder(items.id)
        self.made = features.path.stat().st_mtime_ns
        self.groups, self.group_names = items.label.codes.astype(np.int32), items.label.names
        if not self.group_names:
            self.groups, self.group_names = _folders(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def group_of(self, row: int) -> str:
        """The name of a photo's group; "" where it has none."""
        return self.group_names[self.groups[row]] if self.groups[row] >= 0 else ""

    def count_groups(self) -> list[tuple[str, int]]:
        """Groups that hold photos, and how many; none where one group would hold all."""
        counts = Counter(self.groups[self.groups >= 0].tolist())
        if max(counts.values(), default=0) == len(self):
            return []
        return [(self.group_names[code], counts[code]) for code in sorted(counts)]

    def rows_of(self, group: str) -> Ints64 | None:
        """The rows of a group, None for all: where `group` is "". KeyError for an unknown one."""
        if not group:
            return None
        if group not in self.group_names:
            raise KeyError(group)
        return np.flatnonzero(self.groups == self.group_names.index(group))

    def score(self, vector: Floats32) -> Floats32:
        """Cosines (N,) float32 of all photos' [Ret] with `vector` (D,) of length 1."""
        return np.asarray(self.vectors @ vector)

    def rank(self, scores: Floats32, top: int, rows: Ints64 | None = None) -> Ranked:
        """The `top` photos, of `rows` or of all, by their scores (N,).

        Ties go to the lower row, whatever `top` is, so that pages of hits fit together.
        """
        searched = scores if rows is None else scores[rows]
        if top < len(searched):
            least = np.partition(searched, len(searched) - top)[len(searched) - top]
            candidates = np.flatnonzero(searched >= least)
        else:
            candidates = np.arange(len(searched))
        order = candidates[np.argsort(-searched[candidates], kind="stable")[:top]]
        return Ranked(order if rows is None else rows[order], searched[order])


def _below_common_folder(ids: list[str]) -> list[str]:
    """Paths without the folder that all of them share."""
    folder = os.path.commonpath([str(PurePosixPath(name).parent) for name in ids]) if _alike(ids) else ""
    return [str(PurePosixPath(name).relative_to(folder)) if folder else name for name in ids]


def _alike(ids: list[str]) -> bool:
    """Whether all paths are absolute, or none is: only then they have a folder in common."""
    return len({PurePosixPath(name).is_absolute() for name in ids}) == 1


def _folders(names: list[str]) -> tuple[NDArray[np.int32], list[str]]:
    """The folder of each photo as a code (N,), -1 for one in no folder of its own, and the folders' names."""
    folders = [str(PurePosixPath(name).parent) for name in names]
    found = sorted(set(folders) - {"."})
    codes = {folder: code for code, folder in enumerate(found)}
    return np.array([codes.get(folder, -1) for folder in folders], np.int32), found
