"""Pairs of sketch and photo that a ranking leaves out, as the junk images of Oxford and Paris."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.items import Column, Items


class EligiblePairs:
    """Which of Q x G pairs count: all but those whose pictures agree in one column.

    A picture without a value in that column forms only eligible pairs.
    """

    def __init__(self, queries: Items, gallery: Items, ignore_same: str | None) -> None:
        self.n_queries = len(queries)
        self.n_photos = len(gallery)
        self.all_eligible = ignore_same is None
        self.query_codes: Ints = np.full(self.n_queries, -1)
        """(Q,) value of the column as codes of the gallery's names; -1 for none."""
        self.photo_codes: Ints = np.full(self.n_photos, -1)
        """(G,) codes of the same column; -1 for none."""
        if ignore_same is not None:
            query_column: Column = getattr(queries, ignore_same)
            photo_column: Column = getattr(gallery, ignore_same)
            self.query_codes = query_column.codes_in(photo_column.names)
            self.photo_codes = photo_column.codes

    def mask(self, rows: slice | Ints) -> NDArray[np.bool_]:
        """(B, G) whether each pair of the queries `rows` with every photo is eligible."""
        return self.mask_codes(rows, self.photo_codes)

    def mask_listed(self, rows: Ints, photos: Ints) -> NDArray[np.bool_]:
        """(B, K) the same for the photos (B, K) listed for each of the queries `rows` (B,)."""
        return self.mask_codes(rows, self.photo_codes[photos])

    def mask_codes(self, rows: slice | Ints, codes: Ints) -> NDArray[np.bool_]:
        """(B, K) the same for photos with the codes (K,) or (B, K)."""
        own_codes = self.query_codes[rows][:, None]
        return (own_codes != codes) | (own_codes < 0)
