"""Relation scores of many pairs: Q, K and V once a picture, then block against block."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from zsecli.data.preprocess import Role
from zsecli.errors import ZseError
from zsecli.model.cross_attention import Prepared
from zsecli.model.network import ZSENetwork
from zsecli.store.features import Features
from zsecli.store.items import Ints

PHOTOS_AT_ONCE = PAIRS_AT_ONCE = 32
CACHE_BYTES = 2 * 1024**3


class RelationScorer:
    """Scores sketches of one store against photos of another with the network that made both."""

    def __init__(self, network: ZSENetwork, device: torch.device, sketches: Features, photos: Features) -> None:
        self.network, self.device = network, device
        self.sketches, self.photos = sketches, photos
        self._cache: dict[int, Prepared] = {}
        self._room = CACHE_BYTES

    @torch.inference_mode()
    def score(
        self, start: int, stop: int, wanted: NDArray[np.bool_], advance: Callable[[int], None] = lambda n: None
    ) -> NDArray[np.float32]:
        """Relation scores of the sketches `start` to `stop`, (B, G) float32; NaN where not `wanted` (B, G).

        Each sketch is prepared once, and so is each photo as long as CACHE_BYTES hold them; of a larger
        gallery the rest is prepared once for every call. Photos that nobody wants are not read.
        `advance` is called with the number of pairs just scored.

        Raises:
            ZseError: a score is not a number; the pair is named.
        """
        sketches = self._prepare(self.sketches, np.arange(start, stop), "sketch")
        scores = np.full(wanted.shape, np.nan, np.float32)
        for columns, photos in self._photos(np.flatnonzero(wanted.any(0))):
            pairs = np.argwhere(wanted[:, columns])
            for first in range(0, len(pairs), PAIRS_AT_ONCE):
                rows, of = pairs[first : first + PAIRS_AT_ONCE].T
                some = sketches.rows(torch.from_numpy(rows)), photos.rows(torch.from_numpy(of))
                scores[rows, columns[of]] = self.network.score_prepared(*some).relation.float().cpu().numpy()
                advance(len(rows))
        bad = np.argwhere(wanted & np.isnan(scores))
        if len(bad):
            row, column = bad[0]
            pair = f"{self.sketches.items.id[start + row]} and {self.photos.items.id[column]}"
            raise ZseError(
                f"the relation score of {pair} is not a number", "the model's weights are damaged, or the store is"
            )
        return scores

    def _photos(self, rows: Ints) -> Iterator[tuple[Ints, Prepared]]:
        for start in range(0, len(rows), PHOTOS_AT_ONCE):
            columns = rows[start : start + PHOTOS_AT_ONCE]
            new = np.array([c for c in columns if c not in self._cache], np.int64)
            fresh: dict[int, Prepared] = {}
            if len(new):
                prepared = self._prepare(self.photos, new, "photo")
                fresh = {int(c): prepared.rows(slice(i, i + 1)) for i, c in enumerate(new)}
                if prepared.nbytes <= self._room:
                    self._room -= prepared.nbytes
                    self._cache |= fresh
            yield columns, Prepared.cat([self._cache.get(int(c)) or fresh[int(c)] for c in columns])

    def _prepare(self, features: Features, rows: Ints, role: Role) -> Prepared:
        tokens = torch.from_numpy(features.read("tokens", rows)).to(self.device).float()
        if "index" in features.file:
            index = torch.from_numpy(features.read("index", rows)).to(self.device).long()
        else:
            index = torch.arange(tokens.shape[1] - 1, device=self.device).expand(len(tokens), -1)
        return self.network.prepare(tokens, index, role)
