"""Which part of the photo answers which part of the sketch, by three sources.

Scores are (P, C) float32, sketch places in rows and photo places in columns, higher is better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from zsecli.errors import UsageError
from zsecli.explain.pair import Mask, Pair
from zsecli.model.scoring import Scoring, compute_centred_cosine
from zsecli.vocabulary import EXPLANATION_SOURCES

Scores = NDArray[np.float32]
TEMPERATURE = 0.07  # of the softmax over cosines, as in training
PATH = 32  # points between an empty kernel and the pair's own


class Match(NamedTuple):
    """A sketch place and a photo place that are each other's best, and the score of the two."""

    sketch: int
    photo: int
    score: float


def offered_sources(network: Scoring) -> list[str]:
    """The sources that can explain the scores of `network`, the one that explains them best first.

    Where the score is a sum over local matches, that sum is the explanation, and cross-attention none: it has little
    part in the score.
    """
    names = list(EXPLANATION_SOURCES)
    if network.relation.matches is None:
        return names
    offered = [name for name in names if name != "attention"]
    return sorted(offered, key=lambda name: name != "contribution")


def scores(pair: Pair, source: str) -> Scores:
    """The correspondence scores (P, C) of a source; 0 where token selection dropped a patch.

    Raises:
        UsageError: there is no such source, or it does not explain this network.
    """
    score: Callable[[Pair], Scores] = EXPLANATION_SOURCES.load(source)
    offered = offered_sources(pair.network)
    if source not in offered:
        raise UsageError(
            f"{source} does not explain this network, whose score is a sum over local matches",
            f"choices: {', '.join(offered)}",
        )
    return np.where(pair.sketch.kept[:, None] & pair.photo.kept[None], score(pair), np.float32(0))


def choose(cosines: Scores, ours: Mask, theirs: Mask, temperature: float = TEMPERATURE) -> Scores:
    """Softmax over photo places times softmax over sketch places of cosines (P, C) -> (P, C) in [0, 1].

    The dual-softmax of LoFTR (Sun et al. 2021, eq. 2), over the places `ours` (P,) and `theirs` (C,); 0 elsewhere.
    """
    counts = ours[:, None] & theirs[None]
    logits = np.where(counts, cosines / temperature, -np.inf)
    high = np.max(logits, initial=-1 / temperature)
    power = np.where(counts, np.exp(logits - high), 0)
    rows, columns = (power.sum(axis, keepdims=True) for axis in (1, 0))
    return (power / np.maximum(rows, 1e-30) * power / np.maximum(columns, 1e-30)).astype(np.float32)


def best(scores: Scores, ours: Mask, theirs: Mask) -> list[Match]:
    """The mutual best matches with a score above 0 between the places `ours` and `theirs`, best first."""
    rows, columns = np.flatnonzero(ours), np.flatnonzero(theirs)
    inside = scores[np.ix_(rows, columns)]
    if not inside.size:
        return []
    there, back = inside.argmax(1), inside.argmax(0)
    pairs = [(i, int(j)) for i, j in enumerate(there) if back[j] == i and inside[i, j] > 0]
    pairs.sort(key=lambda at: -inside[at])
    return [Match(int(rows[i]), int(columns[j]), float(inside[i, j])) for i, j in pairs]


def score_similarity(pair: Pair) -> Scores:
    """Of the tokens after cross-attention: the probability that both places choose each other (`choose`)."""
    cosines = compute_centred_cosine(pair.score.sketch[:, 1:], pair.score.photo[:, 1:])[0].cpu().numpy()
    return choose(cosines, pair.sketch.asked, pair.photo.asked)


def score_attention(pair: Pair) -> Scores:
    """Of cross-attention, mean over heads: the geometric mean of both directions, one in each stream."""
    there, back = (
        _looks(pair.ours.q, pair.theirs.k, pair.photo.kept),
        _looks(pair.theirs.q, pair.ours.k, pair.sketch.kept),
    )
    return np.sqrt(there * back.T)


def _looks(q: torch.Tensor, k: torch.Tensor, kept: Mask) -> Scores:
    """(N, M) attention of patches to patches, mean over heads; a row's sum is below 1 by what [Ret] gets."""
    logits = (q[0] @ k[0].transpose(1, 2) / q.shape[-1] ** 0.5).float().cpu()
    gone = torch.from_numpy(np.concatenate([[False], ~kept]))
    share = logits.masked_fill(gone, -torch.inf).softmax(-1).mean(0)
    return share[1:, 1:].numpy()


def score_contribution(pair: Pair) -> Scores:
    """What each pair of tokens adds to the relation score, in logits.

    The logit less that of an empty kernel, shared out.
    A cell of the kernel is a sum over pairs of tokens, divided by the lengths of the two cells; what it adds to the
    logit is its value times the mean slope on the straight way from an empty kernel (integrated gradients,
    Sundararajan et al. 2017, eq. 1). So all pairs, `constant`, and what [Ret] adds directly add up to the logit, to
    about 0.001: the mean slope is taken at PATH points. Where the logit is a sum over pairs of places, these are its
    terms, and nothing is estimated.
    """
    return pair.score.shares[0].float().cpu().numpy() if pair.score.shares is not None else _parts(pair)[0]


@torch.inference_mode()
def constant(pair: Pair) -> float:
    """What no pair of tokens and no [Ret] adds to the relation score, in logits.

    The logit of an empty kernel, and what the bias of a learned pooling adds, which is no token's.
    """
    relation = pair.network.relation
    if relation.matches is not None:
        return float(relation.matches.bias)
    kernel = torch.zeros_like(pair.score.kernel)
    return float(relation.compute_logit(kernel, pair.score.logit.new_zeros(1))) + _parts(pair)[1]


@lru_cache(maxsize=4)  # asked for by document, figure and test alike
def _parts(pair: Pair) -> tuple[Scores, float]:
    """`score_contribution`, and what the bias of a learned pooling adds."""
    relation, kernel = pair.network.relation, pair.score.kernel.float()
    with torch.enable_grad():
        steps = (torch.arange(PATH, device=kernel.device) + 0.5).view(-1, 1, 1) / PATH
        way = (steps * kernel.clone()).requires_grad_()
        (slopes,) = torch.autograd.grad(relation.compute_logit(way, way.new_zeros(PATH)).sum(), way)
    with torch.inference_mode():
        slope = slopes.mean(0)
        tokens = [
            (tokens[0, 1:].float(), torch.from_numpy(side.kept).to(tokens.device))
            for tokens, side in ((pair.score.sketch, pair.sketch), (pair.score.photo, pair.photo))
        ]
        ours, theirs = (relation.compute_token_shares(*one) for one in tokens)
        turned = torch.einsum("cd,jde->jce", slope, theirs)
        contributions = (ours.flatten(1) @ turned.flatten(1).T).cpu().numpy()
        our_bias, their_bias = (relation.compute_bias_share(*one) for one in tokens)
        with_bias = our_bias @ (theirs.sum(0) + their_bias).T + ours.sum(0) @ their_bias.T
        return contributions, float((slope * with_bias).sum())
