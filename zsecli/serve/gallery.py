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
    """Photos in order, best first."""

    rows: Ints64
    """(K,) rows of the gallery."""
    scores: Floats32
    """(K,) scores."""


class Gallery:
    """N photos of an open feature store.

    Raises:
        StoreError: the store holds no photo, or a [Ret] that is not a number.
    """

    def __init__(self, features: Features, name: str) -> None:
        self.name = name
        self.features = features.take(features.items.modality == PHOTO)
        """The photos of the store."""
        items = self.features.items
        if not len(items):
            raise StoreError(f"{features.path}: holds no photo", "zse draw FOLDER embeds the photos of a folder")
        self.vectors = read_unit_ret(self.features, slice(None), np.zeros(features.width, np.float32))
        """(N, D) [Ret] at unit length."""
        root = Path(str(features.header.provenance.get("root", "")))
        self.files = [root / name for name in items.id]
        self.names = _relative_to_common_folder(items.id)
        self.made_ns = features.path.stat().st_mtime_ns
        self.groups = items.label.codes.astype(np.int32)
        """(N,) class of each photo, or its folder where there are no classes, as codes of `group_names`, or -1."""
        self.group_names = items.label.names
        if not self.group_names:
            self.groups, self.group_names = _group_by_folder(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def group_of(self, row: int) -> str:
        """The name of a photo's group; "" where it has none."""
        return self.group_names[self.groups[row]] if self.groups[row] >= 0 else ""

    def count_groups(self) -> list[tuple[str, int]]:
        """Groups that hold photos, and their sizes; none where one group would hold all."""
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


def _relative_to_common_folder(ids: list[str]) -> list[str]:
    """Paths without the folder that all of them share."""
    paths = [PurePosixPath(name) for name in ids]
    if len({path.is_absolute() for path in paths}) > 1:  # absolute and relative paths share no folder
        return ids
    folder = os.path.commonpath([str(path.parent) for path in paths])
    if not folder:
        return ids
    return [str(path.relative_to(folder)) for path in paths]


def _group_by_folder(names: list[str]) -> tuple[NDArray[np.int32], list[str]]:
    """The folder of each photo as a code (N,), -1 for one in the common folder, and the folders' names."""
    folders = [str(PurePosixPath(name).parent) for name in names]
    group_names = sorted(set(folders) - {"."})
    codes = {folder: code for code, folder in enumerate(group_names)}
    return np.array([codes.get(folder, -1) for folder in folders], np.int32), group_names
