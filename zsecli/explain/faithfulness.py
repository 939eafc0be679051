"""Is an explanation the reason? What the relation score does when what it names is taken away, or is all there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zsecli.explain.correspondences import Match
from zsecli.explain.pair import Mask, Pair

STEPS = 10  # of a curve, each an equal share of the matches
ORDERS = 10  # random ones
AT_ONCE = 64  # pairs scored at once
Curve = NDArray[np.float32]


class Areas(NamedTuple):
    """How much sooner than in a random order the score falls (deletion) and rises (insertion), mean over the curve.

    In relation score. 0: no better than chance; an explanation that names what matters first has positive ones.
    """

    deletion: float
    insertion: float


class Faithfulness(NamedTuple):
    """Curves of relation scores, after 0 to STEPS equal shares of the matches, best first; random orders beside them.

    deletion: (STEPS + 1,) the tokens of the matches are dropped from both pictures. insertion: (STEPS + 1,) all tokens
    of matches are dropped, and come back. random_deletion, random_insertion: (R, STEPS + 1).
    """

    deletion: Curve
    insertion: Curve
    random_deletion: Curve
    random_insertion: Curve

    def areas(self) -> Areas:
        """Against the mean of the random orders."""
        deletion, insertion = self.each().mean(1)
        return Areas(float(deletion), float(insertion))

    def each(self) -> NDArray[np.float64]:
        """(2, R) deletion and insertion areas against each random order."""
        return np.stack(
            [
                (self.random_deletion - self.deletion).mean(1, dtype=np.float64),
                (self.insertion - self.random_insertion).mean(1, dtype=np.float64),
            ]
        )


def measure(pair: Pair, matches: Sequence[Match], seed: int = 0, orders: int = ORDERS) -> Faithfulness:
    """Drop the tokens of `matches` in their order, and add them again, against random orders of the same matches.

    A dropped token is out of cross-attention and kernel alike, as one that token selection drops; those of no match
    stay. After the deletion and insertion curves of Petsiuk et al. 2018 (RISE), with tokens for pixels.

    Raises:
        ValueError: there is no match.
    """
    if not matches:
        raise ValueError("no match to take away")
    rng = np.random.default_rng(seed)
    ranks = np.stack([np.arange(len(matches)), *(rng.permutation(len(matches)) for _ in range(orders))])
    shares = np.rint(np.linspace(0, len(matches), STEPS + 1)).astype(int)
    first = ranks[:, None, :] < shares[:, None]  # (1 + R, STEPS + 1, M): whether a match is among the first
    kept = np.concatenate([~first, first]).reshape(-1, len(matches))
    ours, theirs = (np.ones((len(kept), len(side.kept)), bool) for side in (pair.sketch, pair.photo))
    ours[:, [m.sketch for m in matches]] = kept
    theirs[:, [m.photo for m in matches]] = kept
    deletion, insertion = rescore(pair, ours, theirs).reshape(2, 1 + orders, STEPS + 1)
    return Faithfulness(deletion[0], insertion[0], deletion[1:], insertion[1:])


@torch.inference_mode()
def rescore(pair: Pair, ours: Mask, theirs: Mask) -> Curve:
    """(B,) relation scores of the pair with those tokens alone that `ours` and `theirs` (B, P) keep."""
    found = []
    for start in range(0, len(ours), AT_ONCE):
        sides = []
        for prepared, kept in ((pair.ours, ours), (pair.theirs, theirs)):
            some = torch.from_numpy(kept[start : start + AT_ONCE]).to(prepared.tokens.device)
            sides.append(prepared.mask_tokens(torch.cat([torch.ones_like(some[:, :1]), some], 1)))
        found.append(pair.network.score_prepared(*sides).relation.float().cpu().numpy())
    return np.concatenate(found)
