"""Choosing a model on what training holds out of the seen part; no unseen class is looked at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from zsecli.arrays import Ints
from zsecli.data.dataset import Dataset
from zsecli.data.items import PHOTO, SEEN, SKETCH, UNSEEN, Items
from zsecli.data.splits import VALIDATION, VALIDATION_ITEMS
from zsecli.errors import ZseError
from zsecli.evaluate.metrics import mean_name, single_query_metric
from zsecli.model.backbone import Encoding
from zsecli.model.network import ZSENetwork
from zsecli.train.batches import Pictures
from zsecli.train.config import TrainConfig
from zsecli.train.step import autocast, encode, score_pairs, with_vector

AT_MOST = 1000  # sketches, and photos, of a held-out set: the more, the longer every epoch
AT_ONCE = 32
RELATED, SHORTLIST = 100, 20  # sketches of a set that the relation network ranks too, and photos of each


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


def _some(rows: Ints, most: int = AT_MOST) -> Ints:
    """At most so many of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int))] if len(rows) else rows


def validate(network: ZSENetwork, held: list[HeldOut], pictures: Pictures, config: TrainConfig) -> dict[str, float]:
    """Retrieval by [Ret] in every held-out set: metric -> mean over queries; `score`, the mean of each set's first.

    Where the relation network is trained, at most RELATED sketches of a set are ranked by a cascade too, their first
    SHORTLIST photos by relation score. `score` goes by that where training has no loss on [Ret].

    A set in which no sketch has a relevant photo says nothing and is left out.

    Raises:
        ZseError: a picture's [Ret] is not a number.
    """
    network.eval()
    found: dict[str, float] = {}
    leading: dict[str, list[float]] = {"": [], " by relation": []}
    for one in held:
        sketch, photo = (_encode(network, pictures, rows, config) for rows in (one.sketches, one.photos))
        similarity = _cosine(sketch, photo)
        if not np.isfinite(similarity).all():
            raise diverged(None, f"[Ret] of {one.name} is no number")
        ranked = {"": (one, similarity)}
        if config.match_weight:
            some = _some(np.arange(len(one.sketches)), RELATED)
            few = replace(one, sketches=one.sketches[some])
            kept = _counted(similarity[some], pictures.items, few, config.ignore_same)
            ranked[" by relation"] = few, _related(network, sketch, some, photo, kept, config)
        for way, (asked, values) in ranked.items():
            means = _metrics(values, pictures.items, asked, config.ignore_same)
            leading[way] += [*means.values()][:1]
            found |= {f"{one.name}{way}: {name}": value for name, value in means.items()}
    if chosen := leading["" if config.ret_weight else " by relation"]:
        found["score"] = float(np.mean(chosen))
    return found


def diverged(step: int | None, why: str) -> ZseError:
    """What ends a run before it writes anything else."""
    at = "" if step is None else f" at step {step}"
    return ZseError(
        f"training diverged{at}: {why}",
        "a smaller --lr and --head-lr, or --clip 1; the checkpoints before it are as they were",
    )


@torch.inference_mode()
def _encode(network: ZSENetwork, pictures: Pictures, rows: Ints, config: TrainConfig) -> Encoding:
    """Pictures (R,) of one modality, on the CPU; their tokens in half precision, as a store keeps them."""
    role: Literal["sketch", "photo"] = "sketch" if pictures.items.modality[rows[0]] == SKETCH else "photo"
    tokens, index, vectors = [], [], []
    with autocast(next(network.parameters()).device, config):
        for start in range(0, len(rows), AT_ONCE):
            made = encode(network, pictures.stack(rows[start : start + AT_ONCE]), role, config)
            tokens.append(made.tokens.cpu().half())
            index.append(made.index.cpu())
            vectors.append(made.ret.float().cpu())
    own = torch.cat(vectors) if network.has_own_ret else None
    return Encoding(torch.cat(tokens), torch.cat(index), torch.empty(0), with_vector(own))


def _cosine(sketch: Encoding, photo: Encoding) -> NDArray[np.float32]:
    """(Q, G) cosine of [Ret]."""
    ours, theirs = (F.normalize(x.ret.float(), dim=-1).numpy() for x in (sketch, photo))
    return ours @ theirs.T


@torch.inference_mode()
def _related(
    network: ZSENetwork,
    sketch: Encoding,
    rows: Ints,
    photo: Encoding,
    similarity: NDArray[np.float32],
    config: TrainConfig,
) -> NDArray[np.float32]:
    """`similarity` (R, G) of the sketches `rows`, with the relation score, above all of it, for the first photos."""
    device, found = next(network.parameters()).device, similarity.copy()
    for row, values in zip(rows, found, strict=True):
        first = np.argsort(-values, kind="stable")[:SHORTLIST]
        ours, theirs = (
            Encoding(
                x.tokens[at].to(device).float(),
                x.index[at].to(device),
                x.attention,
                with_vector(x.ret[at].to(device) if network.has_own_ret else None),
            )
            for x, at in ((sketch, [row]), (photo, first))
        )
        with autocast(device, config):
            score = score_pairs(network, ours, torch.zeros(len(first), dtype=torch.int64, device=device), theirs)
        values[first] = np.where(np.isneginf(values[first]), -np.inf, 2 + score.relation.float().cpu().numpy())
    return found


def _counted(
    similarity: NDArray[np.float32], items: Items, held: HeldOut, ignore_same: str | None
) -> NDArray[np.float32]:
    """`similarity` (Q, G), minus infinity where a pair does not count."""
    if not ignore_same:
        return similarity
    group = getattr(items, ignore_same).codes
    same = (group[held.sketches][:, None] == group[held.photos]) & (group[held.sketches][:, None] >= 0)
    return np.where(same, -np.inf, similarity)


def _metrics(similarity: NDArray[np.float32], items: Items, held: HeldOut, ignore_same: str | None) -> dict[str, float]:
    column = getattr(items, held.relevant).codes
    relevant = column[held.sketches][:, None] == column[held.photos]
    similarity = _counted(similarity, items, held, ignore_same)
    relevant &= ~np.isneginf(similarity)
    order = np.argsort(-similarity, axis=1, kind="stable")
    hits = np.take_along_axis(relevant, order, 1)
    ranks = [np.flatnonzero(row) + 1 for row in hits if row.any()]
    if not ranks:
        return {}
    return {
        mean_name(name): float(np.mean([single_query_metric(name)(r, len(r)) for r in ranks])) for name in held.metrics
    }
