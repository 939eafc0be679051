"""Relation scores of many pairs: Q, K and V once a picture, and no copy of them for a pair where it can be helped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from zsecli.arrays import Floats32, Ints
from zsecli.errors import ZseError
from zsecli.images.preprocess_rules import Modality
from zsecli.model.cross_attention import Prepared
from zsecli.model.scoring import Scoring
from zsecli.runtime.parallel import map_in_order, use_threads
from zsecli.store.features import Features

PICTURES_AT_ONCE = 32
PAIRS_ON_CPU = 8  # at once: their tensors stay in the cache
MAX_PAIRS_ON_GPU = 512  # at once, where a quarter of its free memory holds them
MIN_PAIRS_ON_GPU = 8
FLOATS_PER_TOKEN_VALUE = 24  # that a pair gathers and makes


@dataclass(frozen=True, kw_only=True)
class _Block:
    """M' pairs of prepared pictures, and the positions of their scores."""

    sketches: Prepared
    photos: Prepared
    sketch_rows: Ints
    """(M',) in `sketches`."""
    photo_rows: Ints
    """(M',) in `photos`."""
    positions: Ints
    """(M',) of the pairs among all that are scored."""

    def slice_pairs(self, pairs: slice) -> _Block:
        return replace(
            self,
            sketch_rows=self.sketch_rows[pairs],
            photo_rows=self.photo_rows[pairs],
            positions=self.positions[pairs],
        )


class RelationScorer:
    """Scores sketches of one store against photos of another with the network that made both."""

    def __init__(self, network: Scoring, device: torch.device, sketches: Features, photos: Features) -> None:
        self.network = network
        self.device = device
        self.sketches = sketches
        self.photos = photos
        self.pairs_at_once = PAIRS_ON_CPU
        if device.type == "cuda":
            pair_bytes = 4 * FLOATS_PER_TOKEN_VALUE * (1 + network.n_patches) * sketches.token_width
            n_pairs = torch.cuda.mem_get_info(device)[0] // 4 // pair_bytes
            power_of_two = 1 << (max(n_pairs, MIN_PAIRS_ON_GPU).bit_length() - 1)
            self.pairs_at_once = min(MAX_PAIRS_ON_GPU, power_of_two)

    @torch.inference_mode()
    def score(self, rows: Ints, columns: Ints, advance: Callable[[int], None] = lambda n: None) -> Floats32:
        """Relation scores (M,) float32 of the pairs of sketch `rows[i]` and photo `columns[i]`, both (M,).

        Every sketch and every photo among them is prepared once. The sketches stay in memory and the photos pass in
        blocks, so a large gallery takes no more memory than a small one.

        Args:
            advance: called with the number of pairs just scored.

        Raises:
            ZseError: a score is not a number; the pair is named.
        """
        scores = np.empty(len(rows), np.float32)
        if not len(rows):
            return scores
        with use_threads(self.device) as n_threads:
            blocks = self._make_blocks(rows, columns)
            for positions, block_scores in map_in_order(self._score_block, blocks, n_threads):
                scores[positions] = block_scores
                advance(len(positions))
        nan_positions = np.flatnonzero(np.isnan(scores))
        if len(nan_positions):
            sketch = self.sketches.items.id[rows[nan_positions[0]]]
            photo = self.photos.items.id[columns[nan_positions[0]]]
            raise ZseError(
                f"the relation score of {sketch} and {photo} is not a number",
                "the model's weights are damaged, or the store is",
            )
        return scores

    def _make_blocks(self, rows: Ints, columns: Ints) -> Iterator[_Block]:
        """The pairs in blocks: of one sketch with neighbouring photos, where all pairs are scored."""
        unique_sketches, sketch_index = np.unique(rows, return_inverse=True)
        unique_photos, photo_index = np.unique(columns, return_inverse=True)
        chunks = _split_into_chunks(unique_sketches, PICTURES_AT_ONCE)
        sketches = Prepared.concatenate([self._prepare_rows(self.sketches, chunk, "sketch") for chunk in chunks])
        photo_chunk = photo_index // PICTURES_AT_ONCE
        order = np.lexsort((photo_index, sketch_index, photo_chunk))
        n_chunks = -(-len(unique_photos) // PICTURES_AT_ONCE)
        starts = np.searchsorted(photo_chunk[order], np.arange(n_chunks))
        for number, pairs in enumerate(np.split(order, starts[1:])):
            first = number * PICTURES_AT_ONCE
            photos = self._prepare_rows(self.photos, unique_photos[first : first + PICTURES_AT_ONCE], "photo")
            for positions in _split_into_chunks(pairs, self.pairs_at_once):
                yield _Block(
                    sketches=sketches,
                    photos=photos,
                    sketch_rows=sketch_index[positions],
                    photo_rows=photo_index[positions] - first,
                    positions=positions,
                )

    @torch.inference_mode()
    def _score_block(self, block: _Block) -> tuple[Ints, Floats32]:
        """The positions of the pairs and their scores; in halves where the memory does not hold the block."""
        try:
            score = self.network.score_prepared(
                block.sketches.take_pairs(block.sketch_rows), block.photos.take_pairs(block.photo_rows)
            )
            return block.positions, score.relation.float().cpu().numpy()
        except torch.OutOfMemoryError:
            if len(block.positions) == 1:
                raise
        middle = len(block.positions) // 2
        _, first_scores = self._score_block(block.slice_pairs(slice(middle)))
        _, second_scores = self._score_block(block.slice_pairs(slice(middle, None)))
        return block.positions, np.concatenate([first_scores, second_scores])

    @torch.inference_mode()
    def _prepare_rows(self, features: Features, rows: Ints, modality: Modality) -> Prepared:
        return prepare_rows(self.network, self.device, features, rows, modality)


def prepare_rows(
    network: Scoring, device: torch.device, features: Features, rows: Ints, modality: Modality
) -> Prepared:
    """The pictures `rows` (B,) of a feature store, prepared for all pairs that they are in."""
    tokens = torch.from_numpy(features.read("tokens", rows)).to(device).float()
    if "index" in features.file:
        index = torch.from_numpy(features.read("index", rows)).to(device).long()
    else:
        index = torch.arange(tokens.shape[1] - 1, device=device).expand(len(tokens), -1)
    ret = torch.from_numpy(features.read("ret", rows)).to(device) if network.has_own_ret else None
    return network.prepare(tokens, index, modality, ret)


def _split_into_chunks(values: Ints, size: int) -> Iterator[Ints]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
