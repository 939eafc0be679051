"""Choosing a model on what training holds out of the seen part; no unseen class is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from zsecli.data.splits import VALIDATION, VALIDATION_ITEMS
from zsecli.evaluate.metrics import mean_name, metric
from zsecli.model.network import ZSENetwork
from zsecli.store.dataset import Dataset
from zsecli.store.items import PHOTO, SEEN, SKETCH, UNSEEN, Ints, Items
from zsecli.train.config import TrainConfig
from zsecli.train.data import Pictures
from zsecli.train.step import encode

AT_MOST = 1000  # sketches, and photos, of a held-out set: the more, the longer every epoch
AT_ONCE = 32


@dataclass(frozen=True)
class HeldOut:
    """Sketches (Q,) and photos (G,), as rows of the data set, and the column in which they must agree."""

    name: str
    relevant: Literal["label", "instance"]
    metrics: tuple[str, ...]
    sketches: Ints
    photos: Ints


def rows_of(dataset: Dataset, partition: str = "") -> tuple[Ints, list[HeldOut]]:
    """The rows that training on a partition may use, and what is held out to choose a model by.

    Sketches of held-out classes are asked for the class, among all photos held out; those of held-out objects of the
    other classes for the own photo, where the data set knows objects, among the photos of all such; else for the class.
    """
    items, part = dataset.items, dataset.parts(partition)
    usable, held = part == SEEN, []
    paired = np.intersect1d(*(items.instance.codes[usable & (items.modality == m)] for m in (SKETCH, PHOTO)))
    own = bool((paired >= 0).any())
    for end, relevant in ((VALIDATION, "label"), (VALIDATION_ITEMS, "instance" if own else "label")):
        name = f"{partition}-{end}".removeprefix("-")
        if name not in dataset.partitions:
            continue
        codes = dataset.parts(name)
        usable &= codes == SEEN
        sketches, photos = (_some(np.flatnonzero((codes == UNSEEN) & (items.modality == m))) for m in (SKETCH, PHOTO))
        metrics = ("AP (raw)", "Acc@1") if relevant == "label" else ("reciprocal rank", "Acc@1")
        if len(sketches) and len(photos):
            held.append(HeldOut(end, relevant, metrics, sketches, photos))  # type: ignore[arg-type]
    if len(held) == 2:  # a single class among its own photos would say nothing
        held[0] = replace(held[0], photos=np.union1d(held[0].photos, held[1].photos))
    return np.flatnonzero(usable), held


def _some(rows: Ints) -> Ints:
    """At most `AT_MOST` of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), AT_MOST)).astype(int))] if len(rows) else rows


def validate(network: ZSENetwork, held: list[HeldOut], pictures: Pictures, config: TrainConfig) -> dict[str, float]:
    """Retrieval by [Ret] in every held-out set: metric -> mean over queries; `score`, the mean of each set's first.

    A set in which no sketch has a relevant photo says nothing and is left out.
    """
    network.eval()
    found: dict[str, float] = {}
    leading = []
    for one in held:
        sketch, photo = (_embed(network, pictures, rows, config) for rows in (one.sketches, one.photos))
        values = _metrics(sketch @ photo.T, pictures.items, one, config.ignore_same)
        if values:
            leading.append(next(iter(values.values())))
        found |= {f"{one.name}: {name}": value for name, value in values.items()}
    if leading:
        found["score"] = float(np.mean(leading))
    return found


@torch.inference_mode()
def _embed(network: ZSENetwork, pictures: Pictures, rows: Ints, config: TrainConfig) -> NDArray[np.float32]:
    """(R, D) unit [Ret] of pictures of one modality."""
    role: Literal["sketch", "photo"] = "sketch" if pictures.items.modality[rows[0]] == SKETCH else "photo"
    parts = [
        encode(network, pictures.stack(rows[start : start + AT_ONCE]), role, config).ret
        for start in range(0, len(rows), AT_ONCE)
    ]
    return F.normalize(torch.cat(parts), dim=-1).cpu().numpy()


def _metrics(similarity: NDArray[np.float32], items: Items, held: HeldOut, ignore_same: str | None) -> dict[str, float]:
    column = getattr(items, held.relevant).codes
    relevant = column[held.sketches][:, None] == column[held.photos]
    if ignore_same:
        group = getattr(items, ignore_same).codes
        same = (group[held.sketches][:, None] == group[held.photos]) & (group[held.sketches][:, None] >= 0)
        similarity, relevant = np.where(same, -np.inf, similarity), relevant & ~same
    order = np.argsort(-similarity, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, 1)
    ranks = [np.flatnonzero(row) + 1 for row in hits if row.any()]
    if not ranks:
        return {}
    return {mean_name(name): float(np.mean([metric(name)(r, len(r)) for r in ranks])) for name in held.metrics}
