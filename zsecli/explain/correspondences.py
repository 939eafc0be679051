"""Which part of the photo corresponds to which part of the sketch, from three sources.

Scores are (P, C) float32, sketch patches in rows and photo patches in columns; higher is better.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from zsecli.arrays import Floats32, Mask
from zsecli.errors import UsageError
from zsecli.explain.pair import Pair, Side
from zsecli.model.scoring import Scoring, compute_centred_cosine
from zsecli.vocabulary import EXPLANATION_SOURCES

Scores = Floats32
TEMPERATURE = 0.07  # of the softmax over cosines, as in training
PATH_STEPS = 32  # points between an empty kernel and the kernel of the pair


class Match(NamedTuple):
    """A sketch patch and a photo patch that are each other's best, and their score."""

    sketch: int
    photo: int
    score: float


def offered_sources(network: Scoring) -> list[str]:
    """The sources that can explain the scores of `network`, the best explanation first.

    Where the score is a sum over local matches, that sum is the explanation. Cross-attention is none then, because it
    has little influence on the score.
    """
    names = list(EXPLANATION_SOURCES)
    if network.relation.matches is None:
        return names
    offered = [name for name in names if name != "attention"]
    return sorted(offered, key=lambda name: name != "contribution")


def score_patches(pair: Pair, source: str) -> Scores:
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
    both_kept = pair.sketch.kept[:, None] & pair.photo.kept[None]
    return np.where(both_kept, score(pair), np.float32(0))


def dual_softmax(cosines: Scores, queried: Mask, valid: Mask, temperature: float = TEMPERATURE) -> Scores:
    """Softmax over photo patches times softmax over sketch patches of cosines (P, C) -> (P, C) in [0, 1].

    The dual-softmax of LoFTR (Sun et al. 2021, eq. 2).

    Args:
        queried: (P,) the sketch patches that take part. valid: (C,) the photo patches that do. Others score 0.
    """
    takes_part = queried[:, None] & valid[None]
    logits = np.where(takes_part, cosines / temperature, -np.inf)
    largest = np.max(logits, initial=-1 / temperature)
    power = np.where(takes_part, np.exp(logits - largest), 0)
    row_sums = np.maximum(power.sum(1, keepdims=True), 1e-30)
    column_sums = np.maximum(power.sum(0, keepdims=True), 1e-30)
    return (power / row_sums * power / column_sums).astype(np.float32)


def find_mutual_matches(scores: Scores, queried: Mask, valid: Mask) -> list[Match]:
    """The mutual best matches with a score above 0, best first.

    Args:
        queried: (P,) the sketch patches that take part. valid: (C,) the photo patches that do.
    """
    sketch_patches = np.flatnonzero(queried)
    photo_patches = np.flatnonzero(valid)
    scores = scores[np.ix_(sketch_patches, photo_patches)]
    if not scores.size:
        return []
    best_photo = scores.argmax(1)
    best_sketch = scores.argmax(0)
    matches = []
    for row, column in enumerate(best_photo.tolist()):
        score = float(scores[row, column])
        if best_sketch[column] == row and score > 0:
            matches.append(Match(int(sketch_patches[row]), int(photo_patches[column]), score))
    return sorted(matches, key=lambda match: -match.score)


def find_pair_matches(pair: Pair, scores: Scores) -> list[Match]:
    """The mutual best matches of a pair by scores (P, C), best first."""
    return find_mutual_matches(scores, pair.sketch.matchable, pair.photo.matchable)


def token_cosines(pair: Pair) -> Scores:
    """(P, C) cosines of the tokens after cross-attention, less their mean."""
    sketch = pair.score.sketch[:, 1:]
    photo = pair.score.photo[:, 1:]
    cosines = compute_centred_cosine(sketch, photo)[0]
    return cosines.cpu().numpy()


def score_similarity(pair: Pair) -> Scores:
    """Of the tokens after cross-attention: the probability that two patches choose each other (`dual_softmax`)."""
    return dual_softmax(token_cosines(pair), pair.sketch.matchable, pair.photo.matchable)


def score_attention(pair: Pair) -> Scores:
    """Of cross-attention, mean over heads: the geometric mean of both directions, one in each stream."""
    sketch = pair.prepared_sketch
    photo = pair.prepared_photo
    sketch_to_photo = _average_attention(sketch.q, photo.k, pair.photo.kept)
    photo_to_sketch = _average_attention(photo.q, sketch.k, pair.sketch.kept)
    return np.sqrt(sketch_to_photo * photo_to_sketch.T)


def _average_attention(q: torch.Tensor, k: torch.Tensor, kept: Mask) -> Scores:
    """(N, M) attention of patches to patches, mean over heads; a row sums to less than 1, as [Ret] gets a share."""
    root_width = q.shape[-1] ** 0.5
    logits = q[0] @ k[0].transpose(1, 2) / root_width
    is_dropped = torch.from_numpy(np.concatenate([[False], ~kept]))
    logits = logits.float().cpu().masked_fill(is_dropped, -torch.inf)
    attention = logits.softmax(-1).mean(0)
    return attention[1:, 1:].numpy()


def score_contribution(pair: Pair) -> Scores:
    """What each pair of tokens adds to the relation score, in logits.

    This is the logit, less the logit of an empty kernel, divided among the pairs of tokens. A cell of the kernel is a
    sum over pairs of tokens, divided by the lengths of the two cells. What it adds to the logit is its value times the
    mean slope on the straight path from an empty kernel (integrated gradients, Sundararajan et al. 2017, eq. 1). So all
    pairs, `compute_constant`, and what [Ret] adds directly sum to the logit, to about 0.001: the mean slope is taken at
    PATH_STEPS points. Where the logit is a sum over pairs of patches, these are its terms, and nothing is estimated.
    """
    if pair.score.shares is not None:
        return pair.score.shares[0].float().cpu().numpy()
    return _integrate_gradients(pair)[0]


@torch.inference_mode()
def compute_constant(pair: Pair) -> float:
    """The part of the relation score, in logits, that comes from no pair of tokens and not from [Ret].

    It is the logit of an empty kernel, and what the bias of a learned pooling adds, which belongs to no token.
    """
    relation = pair.network.relation
    if relation.matches is not None:
        return float(relation.matches.bias)
    empty_kernel = torch.zeros_like(pair.score.kernel)
    empty_logit = float(relation.compute_logit(empty_kernel, pair.score.logit.new_zeros(1)))
    return empty_logit + _integrate_gradients(pair)[1]


@lru_cache(maxsize=4)  # the JSON, the figure and the test of an explanation all need it
def _integrate_gradients(pair: Pair) -> tuple[Scores, float]:
    """`score_contribution` (P, C), and what the bias of a learned pooling adds."""
    slope = _mean_slope(pair)
    relation = pair.network.relation
    with torch.inference_mode():
        sketch, sketch_kept = _patch_tokens(pair.score.sketch, pair.sketch)
        photo, photo_kept = _patch_tokens(pair.score.photo, pair.photo)
        sketch_shares = relation.compute_token_shares(sketch, sketch_kept)
        photo_shares = relation.compute_token_shares(photo, photo_kept)
        photo_slopes = torch.einsum("cd,jde->jce", slope, photo_shares)
        contributions = (sketch_shares.flatten(1) @ photo_slopes.flatten(1).T).cpu().numpy()
        sketch_bias = relation.compute_bias_share(sketch, sketch_kept)
        photo_bias = relation.compute_bias_share(photo, photo_kept)
        photo_cells = photo_shares.sum(0) + photo_bias
        bias_kernel = sketch_bias @ photo_cells.T + sketch_shares.sum(0) @ photo_bias.T
        return contributions, float((slope * bias_kernel).sum())


def _mean_slope(pair: Pair) -> torch.Tensor:
    """The gradient of the logit by the kernel, mean over the path from an empty kernel to the kernel of the pair."""
    relation = pair.network.relation
    kernel = pair.score.kernel.float()
    with torch.enable_grad():
        middles = torch.arange(PATH_STEPS, device=kernel.device) + 0.5
        steps = middles.view(-1, 1, 1) / PATH_STEPS
        path = (steps * kernel.clone()).requires_grad_()
        logits = relation.compute_logit(path, path.new_zeros(PATH_STEPS))
        (slopes,) = torch.autograd.grad(logits.sum(), path)
    with torch.inference_mode():
        return slopes.mean(0)


def _patch_tokens(tokens: torch.Tensor, side: Side) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens (P, D) of the patches of a picture, and which of them (P,) were kept."""
    kept = torch.from_numpy(side.kept).to(tokens.device)
    return tokens[0, 1:].float(), kept
