"""The table of pictures that a dataset, a feature store and both sides of a ranking carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray

from zsecli.errors import StoreError
from zsecli.store.hdf5 import TEXT, reading

SKETCH, PHOTO = 0, 1
MODALITIES: tuple[Literal["sketch"], Literal["photo"]] = ("sketch", "photo")
SEEN, UNSEEN, NEITHER = 0, 1, -1
PARTS = ("seen", "unseen")

Ints = NDArray[np.integer]


@dataclass
class Column:
    """A categorical column: `codes` (N,) int32 into `names`; -1 where a picture has no value."""

    codes: Ints
    names: list[str]

    @classmethod
    def of(cls, values: Sequence[str | None]) -> Column:
        """From text values, names in sorted order; None and "" are no value."""
        names = sorted({v for v in values if v})
        at = {name: i for i, name in enumerate(names)}
        return cls(np.array([at[v] if v else -1 for v in values], dtype=np.int32).reshape(len(values)), names)

    def under(self, names: Sequence[str]) -> Ints:
        """(N,) codes of the same values under other `names`; -1 where a value is not among them."""
        at = {name: i for i, name in enumerate(names)}
        table = np.array([at.get(name, -1) for name in self.names] + [-1], dtype=np.int32)
        return table[self.codes]


def nothing(count: int) -> Column:
    return Column(np.full(count, -1, dtype=np.int32), [])


@dataclass
class Items:
    """N pictures.

    id: unique name of each, a posix path relative to the store's root.
    modality: (N,) uint8, SKETCH or PHOTO.
    part: (N,) int8, SEEN or UNSEEN in training, NEITHER where the picture belongs to no part.
    sha256: (N, 32) uint8, of the picture's file.
    label: its class. instance: the object drawn or photographed, unique over classes. family: a
        group within which pairs may be left out (the same drawing in two modalities, say).
    """

    id: list[str]
    modality: Ints
    part: Ints
    sha256: NDArray[np.uint8]
    label: Column = field(default_factory=lambda: nothing(0))
    instance: Column = field(default_factory=lambda: nothing(0))
    family: Column = field(default_factory=lambda: nothing(0))

    COLUMNS = ("label", "instance", "family")
    _NAMES = ("classes", "instances", "families")

    def __post_init__(self) -> None:
        for name in self.COLUMNS:
            if not len(getattr(self, name).codes) and len(self):
                setattr(self, name, nothing(len(self.id)))

    def __len__(self) -> int:
        return len(self.id)

    def content(self) -> dict[str, Any]:
        """Everything in the table as plain data, for a run key."""
        return {
            "id": self.id,
            "sha256": self.sha256.tobytes().hex(),
            "modality": self.modality.tolist(),
            "part": self.part.tolist(),
            **{c: [getattr(self, c).names, getattr(self, c).codes.tolist()] for c in self.COLUMNS},
        }

    def take(self, rows: Ints) -> Items:
        """The pictures of `rows`, in that order."""
        columns = {name: replace(getattr(self, name), codes=getattr(self, name).codes[rows]) for name in self.COLUMNS}
        return Items([self.id[r] for r in rows], self.modality[rows], self.part[rows], self.sha256[rows], **columns)

    def write(self, group: h5py.Group) -> None:
        _write_text(group, "id", self.id)
        group.create_dataset("modality", data=self.modality, dtype="u1").attrs["meaning"] = "0 sketch, 1 photo"
        group.create_dataset("part", data=self.part, dtype="i1").attrs["meaning"] = "0 seen, 1 unseen, -1 neither"
        group.create_dataset("sha256", data=self.sha256, dtype="u1")
        for name, names in zip(self.COLUMNS, self._NAMES, strict=True):
            group.create_dataset(name, data=getattr(self, name).codes, dtype="i4").attrs["meaning"] = (
                f"row of {names}, -1 none"
            )
            _write_text(group, names, getattr(self, name).names)

    @classmethod
    def read(cls, group: h5py.Group, where: object) -> Items:
        """The table in `group`; StoreError, naming `where`, if its columns do not belong together."""
        with reading(where):
            ids = _read_text(group, "id")
            modality, part, sha256 = (group[name][:] for name in ("modality", "part", "sha256"))
            columns = {
                c: Column(group[c][:], _read_text(group, n)) for c, n in zip(cls.COLUMNS, cls._NAMES, strict=True)
            }
            good = (
                len(set(ids)) == len(ids)
                and sha256.shape == (len(ids), 32)
                and sha256.dtype == np.uint8
                and _codes(modality, len(ids), 0, len(MODALITIES))
                and _codes(part, len(ids), NEITHER, len(PARTS))
                and all(_codes(c.codes, len(ids), -1, len(c.names)) for c in columns.values())
            )
        if not good:
            raise StoreError(
                f"{where}: the columns of {group.name} do not belong together", "delete it and make it again"
            )
        return cls(ids, modality, part, sha256, **columns)


def _codes(values: NDArray[Any], count: int, least: int, stop: int) -> bool:
    """Whether `values` are `count` whole numbers from `least` to below `stop`."""
    return values.shape == (count,) and values.dtype.kind in "iu" and bool(((values >= least) & (values < stop)).all())


def _write_text(group: h5py.Group, name: str, values: list[str]) -> None:
    """A column of UTF-8 strings of any length."""
    group.create_dataset(name, data=np.array(values, dtype=object), dtype=TEXT)


def _read_text(group: h5py.Group, name: str) -> list[str]:
    values = group[name].asstr()[:]
    if values.ndim != 1:
        raise ValueError(f"{name} is no list of names")
    return list(values)
