"""Named splits: which sketches of a data set are queries, and which photos form their gallery.

A split is a protocol, `zs-inter` say, on a partition of the pictures into seen, unseen and neither:
`zs-inter` takes the data set's own partition, `zs-inter-21` the one called `21`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from zsecli.arrays import Ints, Ints8, Mask
from zsecli.data.dataset import Dataset
from zsecli.data.items import NEITHER, PHOTO, SEEN, SKETCH, UNSEEN, Items
from zsecli.errors import UsageError, ZseError, did_you_mean

Selection = Literal["unseen", "generalized", "all"]
# Which pictures of a partition a protocol needs: the unseen ones; seen photos beside them; every picture.
PROTOCOLS: dict[str, Selection] = {
    "zs-inter": "unseen",
    "zs-intra": "unseen",
    "generalized": "generalized",
    "zs-cross": "unseen",
    "zs-cross-all": "all",
}
# Which selections the pictures of a selection, or of a part, contain.
HELD_BY: dict[str, tuple[Selection, ...]] = {
    "unseen": ("unseen",),
    "generalized": ("unseen", "generalized"),
    "all": ("unseen", "generalized", "all"),
    "seen": (),
}
VALIDATION, VALIDATION_ITEMS = "validation", "validation-items"
FEWEST_CLASSES = 4  # from which some are held out for validation
CLASS_SHARE, ITEM_SHARE = 10, 20  # one of so many is held out

# Unseen (sketches, photos) of the standard splits, as the papers count them.
PUBLISHED = {
    ("sketchy", "25"): (15229, 17101),
    ("sketchy", "21"): (12694, 12553),
    ("tuberlin", "30"): (2400, 27989),
    ("quickdraw", "30"): (92291, 54151),
}


@dataclass(frozen=True)
class Split:
    """A protocol on a partition."""

    protocol: str
    partition: str = ""  # "" for the data set's own

    @classmethod
    def parse(cls, text: str) -> Split:
        """The split of this name; UsageError, listing the protocols, where there is none."""
        for protocol in sorted(PROTOCOLS, key=len, reverse=True):
            if text == protocol:
                return cls(protocol)
            partition = text.removeprefix(f"{protocol}-")
            if partition not in ("", text) and PROTOCOLS[protocol] != "all":
                return cls(protocol, partition.removeprefix(protocol))
        raise UsageError(
            f"there is no split {text!r}{did_you_mean(text, PROTOCOLS)}",
            f"splits: {', '.join(PROTOCOLS)}, and those that zse inspect lists for a data set",
        )

    @property
    def name(self) -> str:
        return f"{self.protocol}-{self.partition}".removesuffix("-")

    @property
    def selection(self) -> Selection:
        """Which pictures of its partition it needs."""
        return PROTOCOLS[self.protocol]

    @property
    def pictures(self) -> str:
        """Name of the pictures it needs: equal names, equal pictures."""
        return f"{self.selection}-{self.partition}".removesuffix("-")

    def shorten(self, own: str) -> Split:
        """The same split by its shorter name, for a data set whose own partition is called `own`."""
        return replace(self, partition="") if self.partition == own else self

    def answered_by(self, origin: Mapping[str, str]) -> bool:
        """Whether pictures that were chosen as `origin` says, if it says so, hold what this split needs."""
        partition = origin.get("partition", "")
        benchmark_partition = origin.get("benchmark", "").partition("-")[2]
        names = {partition, benchmark_partition or partition}  # a data set's own partition has a name or none
        return self.partition in names and self.selection in HELD_BY.get(origin.get("selection", "all"), ())


def select_pictures(dataset: Dataset, split: Split) -> Items:
    """The pictures that a split needs, their `part` as its partition has it.

    Raises:
        UsageError: the data set has no such partition.
        ZseError: no picture of it is in the split.
    """
    part = dataset.parts(split.partition)
    modality = dataset.items.modality
    is_unseen = part == UNSEEN
    if split.protocol != "zs-cross-all":
        for code, plural in ((SKETCH, "sketches"), (PHOTO, "photos")):
            if not (is_unseen & (modality == code)).any():
                raise ZseError(
                    f"{dataset.name}: has no unseen {plural} for {split.name}",
                    "zse inspect lists its splits with counts",
                )
    if split.selection == "unseen":
        is_selected = is_unseen
    elif split.selection == "generalized":
        is_selected = is_unseen | ((part == SEEN) & (modality == PHOTO))
    else:
        is_selected = np.ones_like(is_unseen)
    return replace(dataset.items, part=part).take(np.flatnonzero(is_selected))


def hold_out_validation(items: Items, part: Ints) -> dict[str, Ints8]:
    """Partitions (N,) for choosing a model, drawn from the seen part of `part` (N,) alone, by names and contents.

    `validation` holds out classes: a tenth of the seen ones, those whose names have the lowest SHA-256 (none
    where there are fewer than 4). `validation-items` holds out objects of the other classes: those whose
    name's SHA-256 is a multiple of 20 (a picture without an object goes by its own). Seen, in both, is what neither
    holds out: what training may use.
    """
    is_seen = part == SEEN
    in_held_class = _in_held_classes(items, is_seen)
    is_held_item = _find_held_items(items)
    partitions = {}
    for name, is_held_out in ((VALIDATION, in_held_class), (VALIDATION_ITEMS, ~in_held_class & is_held_item)):
        if (is_held_out & is_seen).any():
            codes = np.full(len(items), NEITHER, np.int8)
            codes[is_seen & ~in_held_class & ~is_held_item] = SEEN
            codes[is_seen & is_held_out] = UNSEEN
            partitions[name] = codes
    return partitions


def _in_held_classes(items: Items, is_seen: Mask) -> Mask:
    """(N,) whether a picture is of one of the classes that validation holds out."""
    label = items.label
    seen_names = {label.names[code] for code in label.codes[is_seen] if code >= 0}
    held_names: set[str] = set()
    if len(seen_names) >= FEWEST_CLASSES:
        count = max(1, round(len(seen_names) / CLASS_SHARE))
        held_names = set(sorted(seen_names, key=_hash_name)[:count])
    is_held = np.array([name in held_names for name in label.names] + [False])  # code -1 takes the last
    return is_held[label.codes]


def _find_held_items(items: Items) -> Mask:
    """(N,) whether a picture's object, or the picture itself where it has none, is one of those to hold out."""
    instance = items.instance
    is_held = np.array([_hash_name(name) % ITEM_SHARE == 0 for name in instance.names] + [False])
    last_bytes = items.sha256.astype(np.uint64)[:, -8:]
    picture_is_held = (last_bytes @ 256 ** np.arange(8, dtype=np.uint64)) % ITEM_SHARE == 0
    return np.where(instance.codes >= 0, is_held[instance.codes], picture_is_held)


def _hash_name(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest())


@dataclass(frozen=True, kw_only=True)
class SplitCounts:
    """How much a split of a data set holds."""

    split: Split
    sketches: int  # queries
    photos: int
    classes: int  # of the queries
    published: tuple[int, int] | None  # (sketches, photos) in the papers

    def __str__(self) -> str:
        text = f"{self.sketches} sketches, {self.photos} photos, {self.classes} classes"
        if self.published is None:
            return text
        if self.published == (self.sketches, self.photos):
            return f"{text}; as published"
        return f"{text}; DIFFERS from the published {self.published[0]} sketches, {self.published[1]} photos"


def count_splits(dataset: Dataset) -> Iterator[SplitCounts]:
    """Every split of a data set that holds a query and a photo."""
    for partition in ("", *dataset.partitions):
        is_validation = partition.endswith((VALIDATION, VALIDATION_ITEMS))
        for protocol, selection in PROTOCOLS.items():
            if is_validation and protocol not in ("zs-inter", "zs-intra"):
                continue
            if partition and selection == "all":
                continue
            counts = _count_split(dataset, Split(protocol, partition))
            if counts is not None:
                yield counts


def _count_split(dataset: Dataset, split: Split) -> SplitCounts | None:
    """The counts of a split; None where it has no query or no photo."""
    try:
        chosen = select_pictures(dataset, split)
    except ZseError:
        return None
    is_query = chosen.modality == SKETCH
    if split.selection != "all":
        is_query &= chosen.part == UNSEEN
    if split.protocol == "zs-intra" and not _has_object_in_both(dataset.items, chosen.instance.codes[is_query]):
        return None
    if split.selection == "generalized" and not (chosen.part == SEEN).any():
        return None
    classes = np.unique(chosen.label.codes[is_query])
    published = None
    if split.protocol == "zs-inter":
        published = PUBLISHED.get((dataset.benchmark, split.partition or dataset.partition))
    return SplitCounts(
        split=split,
        sketches=int(is_query.sum()),
        photos=int((chosen.modality == PHOTO).sum()),
        classes=int((classes >= 0).sum()),
        published=published,
    )


def _has_object_in_both(items: Items, codes: Ints) -> bool:
    """Whether one of these objects has a sketch and a photo."""
    sketched = items.instance.codes[items.modality == SKETCH]
    photographed = items.instance.codes[items.modality == PHOTO]
    paired = np.intersect1d(sketched, photographed)
    return bool(np.isin(codes, paired[paired >= 0]).any())
