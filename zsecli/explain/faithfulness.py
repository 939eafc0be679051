"""Is an explanation the reason for the score? How the relation score changes when the named patches are removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from zsecli.arrays import Floats32, Floats64, Mask
from zsecli.explain.correspondences import Match
from zsecli.explain.pair import Pair
from zsecli.model.cross_attention import Prepared

STEPS = 10  # of a curve, each an equal share of the matches
N_RANDOM_ORDERS = 10
PAIRS_AT_ONCE = 64
Curve = Floats32


class Areas(NamedTuple):
    """How much sooner than in random order the score falls (deletion) and rises (insertion), mean over the curve.

    In units of the relation score. 0 is no better than chance; an explanation that ranks the patches that matter first
    has positive areas.
    """

    deletion: float
    insertion: float


class Faithfulness(NamedTuple):
    """Curves of relation scores after 0 to STEPS equal shares of the matches, best first, and in random orders."""

    deletion: Curve
    """(STEPS + 1,) the tokens of the matches are dropped from both pictures."""
    insertion: Curve
    """(STEPS + 1,) the tokens of all matches are dropped, and come back."""
    random_deletion: Curve
    """(R, STEPS + 1)."""
    random_insertion: Curve
    """(R, STEPS + 1)."""

    def mean_areas(self) -> Areas:
        """Against the mean of the random orders."""
        deletion, insertion = self.areas_by_order().mean(1)
        return Areas(float(deletion), float(insertion))

    def areas_by_order(self) -> Floats64:
        """(2, R) deletion and insertion areas against each random order."""
        deletion = (self.random_deletion - self.deletion).mean(1, dtype=np.float64)
        insertion = (self.insertion - self.random_insertion).mean(1, dtype=np.float64)
        return np.stack([deletion, insertion])


def measure_faithfulness(
    pair: Pair, matches: Sequence[Match], seed: int = 0, n_orders: int = N_RANDOM_ORDERS
) -> Faithfulness:
    """Drop the tokens of `matches` in their order, and put them back, against random orders of the same matches.

    A dropped token is out of cross-attention and kernel alike, as if token selection had dropped it; tokens of no match
    stay. After the deletion and insertion curves of Petsiuk et al. 2018 (RISE), with tokens in place of pixels.

    Raises:
        ValueError: there is no match.
    """
    if not matches:
        raise ValueError("no match to take away")
    n_matches = len(matches)
    rng = np.random.default_rng(seed)
    random_ranks = [rng.permutation(n_matches) for _ in range(n_orders)]
    ranks = np.stack([np.arange(n_matches), *random_ranks])
    n_first = np.rint(np.linspace(0, n_matches, STEPS + 1)).astype(int)
    is_first = ranks[:, None, :] < n_first[:, None]  # (1 + R, STEPS + 1, M)
    present = np.concatenate([~is_first, is_first]).reshape(-1, n_matches)  # deletion, then insertion
    sketch_masks = np.ones((len(present), len(pair.sketch.kept)), bool)
    photo_masks = np.ones((len(present), len(pair.photo.kept)), bool)
    sketch_masks[:, [match.sketch for match in matches]] = present
    photo_masks[:, [match.photo for match in matches]] = present
    scores = rescore_subsets(pair, sketch_masks, photo_masks)
    deletion, insertion = scores.reshape(2, 1 + n_orders, STEPS + 1)
    return Faithfulness(
        deletion=deletion[0],
        insertion=insertion[0],
        random_deletion=deletion[1:],
        random_insertion=insertion[1:],
    )


@torch.inference_mode()
def rescore_subsets(pair: Pair, sketch_masks: Mask, photo_masks: Mask) -> Curve:
    """(B,) relation scores of the pair with subsets of its tokens: those that the masks (B, P) select."""
    scores = []
    for start in range(0, len(sketch_masks), PAIRS_AT_ONCE):
        rows = slice(start, start + PAIRS_AT_ONCE)
        sketches = _select_tokens(pair.prepared_sketch, sketch_masks[rows])
        photos = _select_tokens(pair.prepared_photo, photo_masks[rows])
        score = pair.network.score_prepared(sketches, photos)
        scores.append(score.relation.float().cpu().numpy())
    return np.concatenate(scores)


def _select_tokens(prepared: Prepared, masks: Mask) -> Prepared:
    """A picture B times, each time with [Ret] and the patches that a row of masks (B, P) selects."""
    patches = torch.from_numpy(masks).to(prepared.tokens.device)
    ret = torch.ones_like(patches[:, :1])
    return prepared.mask_tokens(torch.cat([ret, patches], 1))
