"""Relation scores of one drawing with a few photos of the store, whose prepared tokens are kept for the next stroke."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import torch

from zsecli.arrays import Floats32, Ints64
from zsecli.model.cross_attention import Prepared
from zsecli.model.scoring import Score, Scoring
from zsecli.retrieval.relation_scores import prepare_rows
from zsecli.store.features import Features

PAIRS_AT_ONCE = 8  # their tensors stay in a core's cache
MEGABYTES = 128  # of prepared photos


class Superseded(Exception):
    """Nobody waits for this answer any longer."""


class Reranker:
    """Scores photos of an open feature store; not for several threads at once."""

    def __init__(self, network: Scoring, device: torch.device, photos: Features, megabytes: int = MEGABYTES) -> None:
        self.network = network
        self.device = device
        self.photos = photos
        tokens = (network.n_patches + 1) * photos.token_width
        self.capacity = max(PAIRS_AT_ONCE, megabytes * 2**20 // (4 * 4 * tokens))  # tokens, q, k and v in float32
        self._prepared: OrderedDict[int, Prepared] = OrderedDict()

    def __len__(self) -> int:
        return len(self._prepared)

    @torch.inference_mode()
    def score(self, sketch: Prepared, rows: Ints64, is_wanted: Callable[[], bool] = lambda: True) -> Floats32:
        """Relation scores (K,) float32 of a prepared drawing with the photos `rows` (K,).

        Raises:
            Superseded: `is_wanted` returned False; it is called before each block of pairs.
        """
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            if not is_wanted():
                raise Superseded
            block = slice(start, min(start + PAIRS_AT_ONCE, len(rows)))
            photos = self.prepare(rows[block])
            scores[block] = self.score_pairs(sketch, photos).relation.float().cpu().numpy()
        return np.nan_to_num(scores, nan=0.0)

    @torch.inference_mode()
    def score_pairs(self, sketch: Prepared, photos: Prepared) -> Score:
        """The scores of one drawing with B photos."""
        repeated = np.zeros(len(photos.tokens), np.int64)
        return self.network.score_prepared(sketch.take_pairs(repeated), photos)

    @torch.inference_mode()
    def prepare(self, rows: Ints64) -> Prepared:
        """The photos `rows` (B,); those that are not in the cache are read and prepared together."""
        missing = np.array(sorted({int(row) for row in rows} - self._prepared.keys()), np.int64)
        if len(missing):
            fresh = prepare_rows(self.network, self.device, self.photos, missing, "photo")
            for number, row in enumerate(missing.tolist()):
                photo = fresh.take(slice(number, number + 1))
                # copies, so that the batch does not stay in memory
                self._prepared[row] = Prepared(*(None if field is None else field.clone() for field in photo))  # type: ignore[arg-type]
        photos = []
        for row in rows.tolist():
            self._prepared.move_to_end(row)
            photos.append(self._prepared[row])
        while len(self._prepared) > self.capacity:
            self._prepared.popitem(last=False)
        return Prepared.concatenate(photos) if len(photos) > 1 else photos[0]
