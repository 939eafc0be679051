"""The losses of training, and the choice of hard negatives: functions of tensors alone.

They compute in float32 at least, whatever precision the network runs in.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def triplet(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean over B of max(0, |a - p| - |a - n| + margin), L2 on the vectors as they are; 0 where B is 0.

    Args:
        anchor, positive, negative: (B, D) each.
    """
    a, p, n = (_precise(x) for x in (anchor, positive, negative))
    return F.triplet_margin_loss(a, p, n, margin=margin, reduction="sum") / max(1, len(a))


def matching(score: Tensor, match: Tensor, high: float = 0.99, low: float = 0.01) -> Tensor:
    """Mean squared error of relation scores (B,) in (0, 1) from `high` where `match` (B,) bool is True, else `low`."""
    score = _precise(score)
    return F.mse_loss(score, torch.full_like(score, low).masked_fill(match, high))


def contrastive(sketch: Tensor, photo: Tensor, positive: Tensor, counts: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss between two modalities: the mean of sketch to photo and photo to sketch.

    Each direction is L_out of Khosla et al. 2020 (arXiv 2004.11362, eq. 2): the mean over the pictures that have a
    positive of -1/|P| sum_p log(exp(s_p / t) / sum_a exp(s_a / t)), with s the cosine and t the temperature.

    Args:
        sketch, photo: (B, D) and (C, D), normalised here.
        positive: (B, C) bool, the pairs P.
        counts: (B, C) bool, the pairs a of the denominator; positives are in it anyway, other pairs get no gradient.

    Returns:
        A scalar; 0, with a gradient of 0, where there is no positive at all.
    """
    # autocast would round the cosines to bfloat16, and the temperature then magnifies what is lost
    with torch.autocast(sketch.device.type, enabled=False):
        s, p = (F.normalize(_precise(x), dim=-1) for x in (sketch, photo))
        logit, counts = s @ p.T / temperature, counts | positive
        return (_supervised(logit, positive, counts) + _supervised(logit.T, positive.T, counts.T)) / 2


def correspondence(similarity: Tensor, target: Tensor, temperature: float) -> Tensor:
    """How far each stroke is from finding its place: cross entropy of a softmax over the places of a photo.

    The mean over V pairs of the mean over a pair's strokes; a pair without one counts as 0.

    Args:
        similarity: (V, P, C) cosines of sketch patches and photo patches; -inf where a photo patch was dropped.
        target: (V, P, C) shares that add up to 1 over the photo patches; all 0 for a patch that is not asked.
    """
    log_share = (_precise(similarity) / temperature).log_softmax(2).masked_fill(target == 0, 0)
    asked = target.sum((1, 2))
    return (-(target * log_share).sum((1, 2)) / asked.clamp(min=1)).mean()


def divergence(logits: Tensor, known: Tensor, temperature: float) -> Tensor:
    """Mean over B of the Kullback-Leibler divergence of softmax(logits / temperature) from the probabilities `known`.

    Args:
        logits, known: (B, C) each. After Hinton et al. 2015 (arXiv 1503.02531), without their factor temperature ** 2.
    """
    return F.kl_div((_precise(logits) / temperature).log_softmax(-1), known, reduction="batchmean")


def named_classes(logits: Tensor, named: Tensor) -> Tensor:
    """Mean over the rows with a class of -log of the probability that all their classes have together.

    Args:
        logits: (B, C). named: (B, C) bool; a row without any does not count.
    """
    rows = named.any(1)
    log_share = _precise(logits[rows]).log_softmax(-1).masked_fill(~named[rows], -torch.inf)
    return -torch.logsumexp(log_share, 1).sum() / max(1, int(rows.sum()))


def choice(logits: Tensor, match: Tensor, counts: Tensor) -> Tensor:
    """Of relation logits (B, N) with N candidates each: cross entropy of the choice among them, and of every pair.

    Args:
        match: (B, N) bool; the choice is right with any that matches, and a row without one makes none. counts: (B, N)
            bool; other pairs are left out of both.
    """
    logits = _precise(logits)
    each = F.binary_cross_entropy_with_logits(logits, match.to(logits), reduction="none")
    every = (each * counts).sum() / counts.sum().clamp(min=1)
    rows = (match & counts).any(1)
    log_share = logits[rows].masked_fill(~counts[rows], -torch.inf).log_softmax(1)
    right = torch.logsumexp(log_share.masked_fill(~(match & counts)[rows], -torch.inf), 1)
    return every - right.sum() / max(1, int(rows.sum()))


def hardest(similarity: Tensor, allowed: Tensor) -> Tensor:
    """(B,) int64, the column of the highest `similarity` (B, C) that is `allowed` (B, C) bool; -1 in a row without."""
    best = similarity.masked_fill(~allowed, -torch.inf).argmax(1)
    return torch.where(allowed.any(1), best, -1)


def _supervised(logit: Tensor, positive: Tensor, counts: Tensor) -> Tensor:
    """L_out of the rows (B, C), mean over those with a positive."""
    rows = positive.any(1)  # the softmax of a row in which nothing counts would be nan, and so its gradient
    logit, positive, counts = logit[rows], positive[rows], counts[rows]
    log_share = logit.masked_fill(~counts, -torch.inf).log_softmax(1).masked_fill(~positive, 0)
    return -(log_share.sum(1) / positive.sum(1)).sum() / max(1, len(logit))


def _precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
