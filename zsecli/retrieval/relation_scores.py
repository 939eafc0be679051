"""Relation scores of many pairs: Q, K and V once a picture, and no copy of them for a pair where it can be helped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.errors import ZseError
from zsecli.images.preprocess_rules import Modality
from zsecli.model.cross_attention import Prepared
from zsecli.model.scoring import Scoring
from zsecli.runtime.parallel import map_in_order, use_threads
from zsecli.store.features import Features

PICTURES_AT_ONCE = 32
ON_CPU = 8  # pairs at once: what they need stays in the cache
ON_GPU = 512  # at most; as many as a quarter of its free memory holds


class _Some(NamedTuple):
    """Pairs of prepared pictures, and where their scores belong."""

    sketches: Prepared
    photos: Prepared
    rows: Ints
    columns: Ints
    at: Ints


class RelationScorer:
    """Scores sketches of one store against photos of another with the network that made both."""

    def __init__(self, network: Scoring, device: torch.device, sketches: Features, photos: Features) -> None:
        self.network, self.device = network, device
        self.sketches, self.photos = sketches, photos
        self.pairs_at_once = ON_CPU
        if device.type == "cuda":
            pair = 24 * 4 * (1 + network.n_patches) * sketches.token_width  # bytes that it gathers and makes
            room = torch.cuda.mem_get_info(device)[0] // 4 // pair
            self.pairs_at_once = min(ON_GPU, 1 << max(3, room.bit_length() - 1))

    @torch.inference_mode()
    def score(self, rows: Ints, columns: Ints, advance: Callable[[int], None] = lambda n: None) -> NDArray[np.float32]:
        """Relation scores (M,) float32 of the pairs of sketch `rows[i]` and photo `columns[i]`, both (M,).

        Every sketch and every photo among them is prepared once: the sketches are held, the photos pass by in blocks,
        so photos take no more memory in a large gallery than in a small one. `advance` is called with the number of
        pairs just scored.

        Raises:
            ZseError: a score is not a number; the pair is named.
        """
        scores = np.empty(len(rows), np.float32)
        if not len(rows):
            return scores
        with use_threads(self.device) as count:
            for some, found in map_in_order(self._relate, self._blocks(rows, columns), count):
                scores[some] = found
                advance(len(some))
        bad = np.flatnonzero(np.isnan(scores))
        if len(bad):
            pair = f"{self.sketches.items.id[rows[bad[0]]]} and {self.photos.items.id[columns[bad[0]]]}"
            raise ZseError(
                f"the relation score of {pair} is not a number", "the model's weights are damaged, or the store is"
            )
        return scores

    def _blocks(self, rows: Ints, columns: Ints) -> Iterator[_Some]:
        """The pairs in blocks: of one sketch with neighbouring photos, where all are wanted."""
        drawn, row = np.unique(rows, return_inverse=True)
        found, column = np.unique(columns, return_inverse=True)
        sketches = Prepared.concatenate(
            [self._prepare(self.sketches, part, "sketch") for part in _parts(drawn, PICTURES_AT_ONCE)]
        )
        order = np.lexsort((column, row, column // PICTURES_AT_ONCE))
        starts = np.searchsorted(column[order] // PICTURES_AT_ONCE, np.arange(-(-len(found) // PICTURES_AT_ONCE)))
        for number, pairs in enumerate(np.split(order, starts[1:])):
            first = number * PICTURES_AT_ONCE
            photos = self._prepare(self.photos, found[first : first + PICTURES_AT_ONCE], "photo")
            for at in _parts(pairs, self.pairs_at_once):
                yield _Some(sketches, photos, row[at], column[at] - first, at)

    @torch.inference_mode()
    def _relate(self, some: _Some) -> tuple[Ints, NDArray[np.float32]]:
        try:
            score = self.network.score_prepared(
                some.sketches.take_pairs(some.rows), some.photos.take_pairs(some.columns)
            )
            return some.at, score.relation.float().cpu().numpy()
        except torch.OutOfMemoryError:
            if len(some.at) == 1:
                raise
        half = len(some.at) // 2
        parts = (slice(half), slice(half, None))
        halves = [some._replace(rows=some.rows[p], columns=some.columns[p], at=some.at[p]) for p in parts]
        return some.at, np.concatenate([self._relate(part)[1] for part in halves])

    @torch.inference_mode()
    def _prepare(self, features: Features, rows: Ints, role: Modality) -> Prepared:
        return prepare_rows(self.network, self.device, features, rows, role)


def prepare_rows(network: Scoring, device: torch.device, features: Features, rows: Ints, role: Modality) -> Prepared:
    """The pictures `rows` (B,) of a feature store, prepared for all pairs that they are in."""
    tokens = torch.from_numpy(features.read("tokens", rows)).to(device).float()
    if "index" in features.file:
        index = torch.from_numpy(features.read("index", rows)).to(device).long()
    else:
        index = torch.arange(tokens.shape[1] - 1, device=device).expand(len(tokens), -1)
    ret = torch.from_numpy(features.read("ret", rows)).to(device) if network.has_own_ret else None
    return network.prepare(tokens, index, role, ret)


def _parts(values: Ints, size: int) -> Iterator[Ints]:
    return (values[start : start + size] for start in range(0, len(values), size))
