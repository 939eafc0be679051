"""The table of pictures that a data set, a feature store and both sides of a ranking have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from zsecli.arrays import Bytes, Ints
from zsecli.images.preprocess_rules import Modality

SKETCH, PHOTO = 0, 1
MODALITIES: tuple[Modality, Modality] = ("sketch", "photo")
SEEN, UNSEEN, NEITHER = 0, 1, -1
PARTS = ("seen", "unseen")


@dataclass
class Column:
    """A categorical column."""

    codes: Ints  # (N,) int32 into `names`; -1 where a picture has no value
    names: list[str]

    @classmethod
    def from_values(cls, values: Sequence[str | None]) -> Column:
        """A column of text values, its names in sorted order; None and "" are no value."""
        names = sorted({value for value in values if value})
        code_of = {name: code for code, name in enumerate(names)}
        codes = [code_of[value] if value else -1 for value in values]
        return cls(np.array(codes, np.int32).reshape(len(values)), names)

    @classmethod
    def empty(cls, count: int) -> Column:
        """A column in which none of `count` pictures has a value."""
        return cls(np.full(count, -1, np.int32), [])

    def codes_in(self, names: Sequence[str]) -> Ints:
        """(N,) codes of the same values in another list of names; -1 where a value is not among them."""
        code_of = {name: code for code, name in enumerate(names)}
        new_codes = [code_of.get(name, -1) for name in self.names]
        table = np.array([*new_codes, -1], np.int32)  # code -1 takes the last
        return table[self.codes]

    def take(self, rows: Ints) -> Column:
        """The values of `rows`, in that order."""
        return replace(self, codes=self.codes[rows])


@dataclass(kw_only=True)
class Items:
    """N pictures."""

    id: list[str]  # unique names: posix paths relative to the folder of the pictures
    modality: Ints  # (N,) uint8, SKETCH or PHOTO
    part: Ints  # (N,) int8, SEEN or UNSEEN in training, NEITHER where the picture belongs to no part
    sha256: Bytes  # (N, 32), of the pictures' files
    label: Column = field(default_factory=lambda: Column.empty(0))  # class
    instance: Column = field(default_factory=lambda: Column.empty(0))  # object shown, unique over all classes
    # group within which pairs may be left out: the same drawing in two modalities, say
    family: Column = field(default_factory=lambda: Column.empty(0))

    COLUMNS = ("label", "instance", "family")

    def __post_init__(self) -> None:
        for name in self.COLUMNS:
            if len(self) and not len(self.column(name).codes):
                setattr(self, name, Column.empty(len(self)))

    def __len__(self) -> int:
        return len(self.id)

    def column(self, name: str) -> Column:
        """One of `COLUMNS`."""
        column: Column = getattr(self, name)
        return column

    def content(self) -> dict[str, Any]:
        """Everything in the table as plain data, for a run key."""
        columns = {}
        for name in self.COLUMNS:
            column = self.column(name)
            columns[name] = [column.names, column.codes.tolist()]
        return {
            "id": self.id,
            "sha256": self.sha256.tobytes().hex(),
            "modality": self.modality.tolist(),
            "part": self.part.tolist(),
            **columns,
        }

    def take(self, rows: Ints) -> Items:
        """The pictures of `rows`, in that order."""
        return Items(
            id=[self.id[row] for row in rows],
            modality=self.modality[rows],
            part=self.part[rows],
            sha256=self.sha256[rows],
            label=self.label.take(rows),
            instance=self.instance.take(rows),
            family=self.family.take(rows),
        )
