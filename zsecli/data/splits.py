"""Named splits: which sketches of a data set are asked, and which photos they are looked for in.

A split is a family, `zs-inter` say, on a partition of the pictures into seen, unseen and neither:
`zs-inter` takes the data set's own partition, `zs-inter-21` the one called `21`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.dataset import Dataset
from zsecli.data.items import NEITHER, PHOTO, SEEN, SKETCH, UNSEEN, Items
from zsecli.errors import UsageError, ZseError, did_you_mean

Selection = Literal["unseen", "generalized", "all"]
# what of a partition a family needs: unseen pictures; seen photos beside them; every picture
FAMILIES: dict[str, Selection] = {
    "zs-inter": "unseen",
    "zs-intra": "unseen",
    "generalized": "generalized",
    "zs-cross": "unseen",
    "zs-cross-all": "all",
}
# what is among the pictures of a selection, or of a part
HELD_BY: dict[str, tuple[Selection, ...]] = {
    "unseen": ("unseen",),
    "generalized": ("unseen", "generalized"),
    "all": ("unseen", "generalized", "all"),
    "seen": (),
}
VALIDATION, VALIDATION_ITEMS = "validation", "validation-items"

# unseen (sketches, photos) of the standard splits, as the papers count them
PUBLISHED = {
    ("sketchy", "25"): (15229, 17101),
    ("sketchy", "21"): (12694, 12553),
    ("tuberlin", "30"): (2400, 27989),
    ("quickdraw", "30"): (92291, 54151),
}


@dataclass(frozen=True)
class Split:
    """A family on a partition; `partition` is "" for the data set's own."""

    family: str
    partition: str = ""

    @classmethod
    def parse(cls, text: str) -> Split:
        """From its name; UsageError, listing the families, where it has none."""
        for family in sorted(FAMILIES, key=len, reverse=True):
            partition = text.removeprefix(family + "-")
            if text == family or (partition not in ("", text) and FAMILIES[family] != "all"):
                return cls(family, partition.removeprefix(family))
        raise UsageError(
            f"there is no split {text!r}{did_you_mean(text, FAMILIES)}",
            f"splits: {', '.join(FAMILIES)}, and those that zse inspect lists for a data set",
        )

    @property
    def name(self) -> str:
        return f"{self.family}-{self.partition}".removesuffix("-")

    @property
    def selection(self) -> Selection:
        """Which pictures of its partition it needs."""
        return FAMILIES[self.family]

    @property
    def pictures(self) -> str:
        """Name of the pictures it needs: equal names, equal pictures."""
        return f"{self.selection}-{self.partition}".removesuffix("-")

    def shorten(self, own: str) -> Split:
        """The same on a data set whose own partition is called `own`, by the shorter name."""
        return replace(self, partition="") if self.partition == own else self

    def answered_by(self, origin: Mapping[str, str]) -> bool:
        """Whether pictures that were chosen as `origin` says, if it says so, hold what this split needs."""
        made = origin.get("partition", "")
        names = {made, origin.get("benchmark", "").partition("-")[2] or made}  # a data set's own has a name or none
        return self.partition in names and self.selection in HELD_BY.get(origin.get("selection", "all"), ())


def select_pictures(dataset: Dataset, split: Split) -> Items:
    """The pictures that a split needs, their `part` as its partition has it.

    Raises:
        UsageError: the data set has no such partition. ZseError: nothing of it is in the split.
    """
    part = dataset.parts(split.partition)
    unseen, seen = part == UNSEEN, part == SEEN
    photo = dataset.items.modality == PHOTO
    masks = {"unseen": unseen, "generalized": unseen | (seen & photo), "all": np.ones_like(unseen)}
    mask = masks[split.selection]
    for modality, plural in ((SKETCH, "sketches"), (PHOTO, "photos")):
        if not (mask & unseen & (dataset.items.modality == modality)).any() and split.family != "zs-cross-all":
            raise ZseError(
                f"{dataset.name}: has no unseen {plural} for {split.name}", "zse inspect lists its splits with counts"
            )
    return replace(dataset.items, part=part).take(np.flatnonzero(mask))


def hold_out_validation(items: Items, part: Ints) -> dict[str, NDArray[np.int8]]:
    """Partitions (N,) for choosing a model, drawn from the seen part of `part` (N,) alone, by names and contents.

    `validation` holds out classes: a tenth of the seen ones, those whose names have the lowest SHA-256 (none
    where there are fewer than 4). `validation-items` holds out objects of the other classes: those whose
    name's SHA-256 is a multiple of 20 (a picture without an object goes by its own). Seen, in both, is what neither
    holds out: what training may use.
    """
    seen = part == SEEN
    names = sorted({items.label.names[c] for c in items.label.codes[seen] if c >= 0}, key=_digest)
    held = set(names[: max(1, round(len(names) / 10))]) if len(names) >= 4 else set()
    label = np.array([name in held for name in items.label.names] + [False])[items.label.codes]
    instance = np.array([_digest(name) % 20 == 0 for name in items.instance.names] + [False])[items.instance.codes]
    alone = (items.sha256.astype(np.uint64)[:, -8:] @ 256 ** np.arange(8, dtype=np.uint64)) % 20 == 0
    single = np.where(items.instance.codes >= 0, instance, alone)
    made = {}
    for name, mask in ((VALIDATION, label), (VALIDATION_ITEMS, ~label & single)):
        if (mask & seen).any():
            codes = np.full(len(items), NEITHER, np.int8)
            codes[seen & ~label & ~single] = SEEN
            codes[seen & mask] = UNSEEN
            made[name] = codes
    return made


def _digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest())


@dataclass(frozen=True)
class SplitCounts:
    """A split of a data set: its queries, photos and the classes of its queries; published (sketches, photos)."""

    split: Split
    sketches: int
    photos: int
    classes: int
    published: tuple[int, int] | None

    def __str__(self) -> str:
        text = f"{self.sketches} sketches, {self.photos} photos, {self.classes} classes"
        if self.published is None:
            return text
        if self.published == (self.sketches, self.photos):
            return f"{text}; as published"
        return f"{text}; DIFFERS from the published {self.published[0]} sketches, {self.published[1]} photos"


def count_splits(dataset: Dataset) -> Iterator[SplitCounts]:
    """Every split of a data set that holds a query and a photo."""
    items = dataset.items
    sketched = np.intersect1d(*(items.instance.codes[items.modality == m] for m in (SKETCH, PHOTO)))
    for partition in ("", *dataset.partitions):
        for family, selection in FAMILIES.items():
            held_out = partition.endswith((VALIDATION, VALIDATION_ITEMS))
            if (held_out and family not in ("zs-inter", "zs-intra")) or (partition and selection == "all"):
                continue
            split = Split(family, partition)
            try:
                chosen = select_pictures(dataset, split)
            except ZseError:
                continue
            asked = (chosen.modality == SKETCH) & ((chosen.part == UNSEEN) | (selection == "all"))
            if family == "zs-intra" and not np.isin(chosen.instance.codes[asked], sketched[sketched >= 0]).any():
                continue
            if selection == "generalized" and not (chosen.part == SEEN).any():
                continue
            classes = np.unique(chosen.label.codes[asked])
            known = PUBLISHED.get((dataset.benchmark, partition or dataset.partition))
            yield SplitCounts(
                split,
                int(asked.sum()),
                int((chosen.modality == PHOTO).sum()),
                int((classes >= 0).sum()),
                known if family in ("zs-inter",) else None,
            )
