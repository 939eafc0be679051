"""Validation on seen classes and instances that training holds out; no unseen class is looked at."""

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
from zsecli.images.preprocess_rules import Modality
from zsecli.model.backbone import Encoding
from zsecli.model.network import ZSENetwork
from zsecli.train.batches import TrainingPictures
from zsecli.train.config import TrainConfig
from zsecli.train.step import autocast_forward, encode_pictures, retrieval_of_vector, score_pairs

MAX_PICTURES = 1000  # sketches, and photos, of a held-out set: more make every epoch longer
BATCH_SIZE = 32
RELATION_QUERIES, SHORTLIST = 100, 20  # sketches of a set that a cascade ranks too, and photos of each
BY_RELATION = " by relation"  # in the names of metrics of that cascade

Relevance = Literal["label", "instance"]


@dataclass(frozen=True, kw_only=True)
class HeldOutSet:
    """Sketches that query photos, both held out of training."""

    name: str
    relevance: Relevance
    """The column in which a sketch and a relevant photo agree."""
    metrics: tuple[str, ...]
    sketches: Ints
    """(Q,) rows of the items."""
    photos: Ints
    """(G,) rows of the items."""

    @property
    def rows(self) -> Ints:
        """(Q + G,) rows of all its pictures."""
        return np.concatenate([self.sketches, self.photos])


def select_rows(dataset: Dataset, partition: str = "") -> tuple[Ints, list[HeldOutSet]]:
    """The rows that training on a partition may use, and what is held out to choose a model by.

    Sketches of held-out classes query for their class, among all photos that are held out. Sketches of held-out
    instances of other classes query for their own photo among the photos of such instances, where the data set has
    instances, else for their class.
    """
    items = dataset.items
    is_usable = dataset.parts(partition) == SEEN
    by_instance: Relevance = "instance" if _has_pairs(items, is_usable) else "label"
    relevances: dict[str, Relevance] = {VALIDATION: "label", VALIDATION_ITEMS: by_instance}
    held_out: list[HeldOutSet] = []
    for ending, relevance in relevances.items():
        name = f"{partition}-{ending}".removeprefix("-")
        if name not in dataset.partitions:
            continue
        codes = dataset.parts(name)
        is_usable &= codes == SEEN
        is_held_out = codes == UNSEEN
        sketches = _thin_rows(np.flatnonzero(is_held_out & (items.modality == SKETCH)))
        photos = _thin_rows(np.flatnonzero(is_held_out & (items.modality == PHOTO)))
        if len(sketches) and len(photos):
            metrics = ("AP (raw)", "Acc@1") if relevance == "label" else ("reciprocal rank", "Acc@1")
            held_out.append(
                HeldOutSet(name=ending, relevance=relevance, metrics=metrics, sketches=sketches, photos=photos)
            )
    if len(held_out) == 2:  # a single class among its own photos would be no test
        all_photos = np.union1d(held_out[0].photos, held_out[1].photos)
        held_out[0] = replace(held_out[0], photos=all_photos)
    return np.flatnonzero(is_usable), held_out


def validate_network(
    network: ZSENetwork, held_out: list[HeldOutSet], pictures: TrainingPictures, config: TrainConfig
) -> dict[str, float]:
    """Retrieval by [Ret] in every held-out set: metric -> mean over queries; `score`, the mean of each set's first.

    Where the relation network is trained, at most RELATION_QUERIES sketches of a set are ranked by a cascade too, their
    first SHORTLIST photos by relation score. `score` goes by that where training has no loss on [Ret].

    A set in which no sketch has a relevant photo is left out.

    Raises:
        ZseError: a picture's [Ret] is not a number.
    """
    network.eval()
    metrics: dict[str, float] = {}
    scores: list[float] = []
    scores_by_relation: list[float] = []
    for held in held_out:
        sketch = _encode_rows(network, pictures, held.sketches, config)
        photo = _encode_rows(network, pictures, held.photos, config)
        similarity = _cosine_similarity(sketch, photo)
        if not np.isfinite(similarity).all():
            raise divergence_error(None, f"[Ret] of {held.name} is no number")
        means = _measure(similarity, pictures.items, held, config.ignore_same)
        metrics |= {f"{held.name}: {name}": value for name, value in means.items()}
        scores += [*means.values()][:1]
        if config.match_weight:
            queries = _thin_rows(np.arange(len(held.sketches)), RELATION_QUERIES)
            related = replace(held, sketches=held.sketches[queries])
            eligible = _mask_ignored(similarity[queries], pictures.items, related, config.ignore_same)
            cascade = _rerank(network, sketch, queries, photo, eligible, config)
            means = _measure(cascade, pictures.items, related, config.ignore_same)
            metrics |= {f"{held.name}{BY_RELATION}: {name}": value for name, value in means.items()}
            scores_by_relation += [*means.values()][:1]
    if not config.ret_weight:
        scores = scores_by_relation
    if scores:
        metrics["score"] = float(np.mean(scores))
    return metrics


def divergence_error(step: int | None, reason: str) -> ZseError:
    """The error that ends a run before it writes anything else."""
    where = "" if step is None else f" at step {step}"
    return ZseError(
        f"training diverged{where}: {reason}",
        "a smaller --lr and --head-lr, or --clip 1; the checkpoints before it are as they were",
    )


def _has_pairs(items: Items, is_usable: NDArray[np.bool_]) -> bool:
    """Whether an instance has both a usable sketch and a usable photo."""
    sketches = items.instance.codes[is_usable & (items.modality == SKETCH)]
    photos = items.instance.codes[is_usable & (items.modality == PHOTO)]
    return bool((np.intersect1d(sketches, photos) >= 0).any())


def _thin_rows(rows: Ints, limit: int = MAX_PICTURES) -> Ints:
    """At most `limit` of the rows, evenly spread."""
    if not len(rows):
        return rows
    positions = np.linspace(0, len(rows) - 1, min(len(rows), limit)).astype(int)
    return rows[np.unique(positions)]


@torch.inference_mode()
def _encode_rows(network: ZSENetwork, pictures: TrainingPictures, rows: Ints, config: TrainConfig) -> Encoding:
    """Encode pictures (R,) of one modality; on the CPU, tokens in half precision, as a store keeps them."""
    modality: Modality = "sketch" if pictures.items.modality[rows[0]] == SKETCH else "photo"
    tokens, index, vectors = [], [], []
    with autocast_forward(next(network.parameters()).device, config):
        for start in range(0, len(rows), BATCH_SIZE):
            batch = pictures.stack_pictures(rows[start : start + BATCH_SIZE])
            encoding = encode_pictures(network, batch, modality, config)
            tokens.append(encoding.tokens.cpu().half())
            index.append(encoding.index.cpu())
            vectors.append(encoding.ret.float().cpu())
    own_ret = torch.cat(vectors) if network.has_own_ret else None
    return Encoding(torch.cat(tokens), torch.cat(index), torch.empty(0), retrieval_of_vector(own_ret))


def _cosine_similarity(sketch: Encoding, photo: Encoding) -> NDArray[np.float32]:
    """(Q, G) cosine of [Ret]."""
    sketches = F.normalize(sketch.ret.float(), dim=-1).numpy()
    photos = F.normalize(photo.ret.float(), dim=-1).numpy()
    similarity: NDArray[np.float32] = sketches @ photos.T
    return similarity


@torch.inference_mode()
def _rerank(
    network: ZSENetwork,
    sketch: Encoding,
    sketch_rows: Ints,
    photo: Encoding,
    similarity: NDArray[np.float32],
    config: TrainConfig,
) -> NDArray[np.float32]:
    """`similarity` (R, G) of the sketches, with the relation score of the first photos, above all of the others."""
    device = next(network.parameters()).device
    scores = similarity.copy()
    for row, values in zip(sketch_rows, scores, strict=True):
        shortlist = np.argsort(-values, kind="stable")[:SHORTLIST]
        query = _load_rows(network, sketch, np.array([row]), device)
        gallery = _load_rows(network, photo, shortlist, device)
        query_rows = torch.zeros(len(shortlist), dtype=torch.int64, device=device)
        with autocast_forward(device, config):
            score = score_pairs(network, query, query_rows, gallery)
        relation = 2 + score.relation.float().cpu().numpy()
        values[shortlist] = np.where(np.isneginf(values[shortlist]), -np.inf, relation)
    return scores


def _load_rows(network: ZSENetwork, encoding: Encoding, rows: Ints, device: torch.device) -> Encoding:
    """Rows of an encoding, in float32 on the device."""
    own_ret = encoding.ret[rows].to(device) if network.has_own_ret else None
    tokens = encoding.tokens[rows].to(device).float()
    return Encoding(tokens, encoding.index[rows].to(device), encoding.attention, retrieval_of_vector(own_ret))


def _mask_ignored(
    similarity: NDArray[np.float32], items: Items, held: HeldOutSet, ignore_same: str | None
) -> NDArray[np.float32]:
    """`similarity` (Q, G), minus infinity where a pair is not eligible."""
    if not ignore_same:
        return similarity
    codes = getattr(items, ignore_same).codes
    sketch_codes = codes[held.sketches][:, None]
    is_ignored = (sketch_codes == codes[held.photos]) & (sketch_codes >= 0)
    return np.where(is_ignored, -np.inf, similarity)


def _measure(
    similarity: NDArray[np.float32], items: Items, held: HeldOutSet, ignore_same: str | None
) -> dict[str, float]:
    """Metric -> its mean over the queries with a relevant photo; empty where there is none."""
    codes = getattr(items, held.relevance).codes
    similarity = _mask_ignored(similarity, items, held, ignore_same)
    is_relevant = codes[held.sketches][:, None] == codes[held.photos]
    is_relevant &= ~np.isneginf(similarity)
    order = np.argsort(-similarity, axis=1, kind="stable")
    hits = np.take_along_axis(is_relevant, order, 1)
    ranks = [np.flatnonzero(row) + 1 for row in hits if row.any()]
    if not ranks:
        return {}
    means = {}
    for name in held.metrics:
        metric = single_query_metric(name)
        means[mean_name(name)] = float(np.mean([metric(query_ranks, len(query_ranks)) for query_ranks in ranks]))
    return means
