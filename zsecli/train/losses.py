"""The losses of training, and the choice of hard negatives: functions of tensors alone.

They compute in float32 at least, whatever precision the network runs in.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Mean over B of max(0, |a - p| - |a - n| + margin), L2 on the vectors as they are; 0 where B is 0.

    Args:
        anchor, positive, negative: (B, D) each.
    """
    anchor = _to_float32(anchor)
    positive = _to_float32(positive)
    negative = _to_float32(negative)
    total = F.triplet_margin_loss(anchor, positive, negative, margin=margin, reduction="sum")
    return total / max(1, len(anchor))


def relation_loss(score: Tensor, match: Tensor, high: float = 0.99, low: float = 0.01) -> Tensor:
    """Mean squared error of relation scores (B,) in (0, 1) from `high` where `match` (B,) bool is True, else `low`."""
    score = _to_float32(score)
    target = torch.full_like(score, low).masked_fill(match, high)
    return F.mse_loss(score, target)


def contrastive_loss(sketch: Tensor, photo: Tensor, positive: Tensor, eligible: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss between two modalities: the mean of sketch to photo and photo to sketch.

    Each direction is L_out of Khosla et al. 2020 (arXiv 2004.11362, eq. 2): the mean over the pictures that have a
    positive of -1/|P| sum_p log(exp(s_p / t) / sum_a exp(s_a / t)), with s the cosine and t the temperature.

    Args:
        sketch, photo: (B, D) and (C, D), normalised here.
        positive: (B, C) bool, the pairs P.
        eligible: (B, C) bool, the pairs a of the denominator; positives are in it anyway, other pairs get no gradient.

    Returns:
        A scalar; 0, with a gradient of 0, where there is no positive at all.
    """
    # autocast would round the cosines to bfloat16, and the temperature then magnifies what is lost
    with torch.autocast(sketch.device.type, enabled=False):
        sketch = F.normalize(_to_float32(sketch), dim=-1)
        photo = F.normalize(_to_float32(photo), dim=-1)
        logits = sketch @ photo.T / temperature
        eligible = eligible | positive
        sketch_to_photo = _supervised_contrast(logits, positive, eligible)
        photo_to_sketch = _supervised_contrast(logits.T, positive.T, eligible.T)
        return (sketch_to_photo + photo_to_sketch) / 2


def correspondence_loss(similarity: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Cross entropy of a softmax over a photo's patches, of where each stroke of a sketch is in it.

    The mean over V pairs of the mean over a pair's strokes; a pair without one counts as 0.

    Args:
        similarity: (V, P, C) cosines of sketch patches and photo patches; -inf where a photo patch was dropped.
        target: (V, P, C) shares that add up to 1 over the photo patches; all 0 for a sketch patch that is ignored.
    """
    logits = _to_float32(similarity) / temperature
    log_share = logits.log_softmax(2).masked_fill(target == 0, 0)
    cross_entropy = -(target * log_share).sum((1, 2))
    stroke_count = target.sum((1, 2))
    return (cross_entropy / stroke_count.clamp(min=1)).mean()


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean over B of the Kullback-Leibler divergence of softmax(logits / temperature) from a teacher's probabilities.

    After Hinton et al. 2015 (arXiv 1503.02531), without their factor temperature ** 2.

    Args:
        logits, teacher: (B, C) each.
    """
    log_share = (_to_float32(logits) / temperature).log_softmax(-1)
    return F.kl_div(log_share, teacher, reduction="batchmean")


def class_name_loss(logits: Tensor, named: Tensor) -> Tensor:
    """Mean over the rows with a named class of -log of the probability that all their named classes have together.

    Args:
        logits: (B, C).
        named: (B, C) bool, the classes that a row's noun names; a row without any is ignored.
    """
    rows = named.any(1)
    log_share = _to_float32(logits[rows]).log_softmax(-1)
    named_log_share = log_share.masked_fill(~named[rows], -torch.inf)
    log_likelihood = torch.logsumexp(named_log_share, 1)
    return -log_likelihood.sum() / max(1, int(rows.sum()))


def ranking_loss(logits: Tensor, match: Tensor, eligible: Tensor) -> Tensor:
    """Cross entropy of the choice among the N candidates of each row, and of every pair by itself.

    Args:
        logits: (B, N) relation logits.
        match: (B, N) bool; any candidate that matches is a right choice, and a row without one makes no choice.
        eligible: (B, N) bool; other pairs are left out of both.
    """
    logits = _to_float32(logits)
    pair_losses = F.binary_cross_entropy_with_logits(logits, match.to(logits), reduction="none")
    pair_count = eligible.sum().clamp(min=1)
    pair_loss = (pair_losses * eligible).sum() / pair_count
    positive = match & eligible
    rows = positive.any(1)
    candidates = logits[rows].masked_fill(~eligible[rows], -torch.inf)
    positive_log_share = candidates.log_softmax(1).masked_fill(~positive[rows], -torch.inf)
    log_likelihood = torch.logsumexp(positive_log_share, 1)
    return pair_loss - log_likelihood.sum() / max(1, int(rows.sum()))


def hardest_negatives(similarity: Tensor, allowed: Tensor) -> Tensor:
    """(B,) int64, the column of the highest `similarity` (B, C) that is `allowed` (B, C) bool; -1 in a row without."""
    best = similarity.masked_fill(~allowed, -torch.inf).argmax(1)
    return torch.where(allowed.any(1), best, -1)


def _supervised_contrast(logits: Tensor, positive: Tensor, eligible: Tensor) -> Tensor:
    """L_out of the rows (B, C), mean over those with a positive."""
    rows = positive.any(1)  # the softmax of a row without an eligible pair would be nan, and so its gradient
    positive = positive[rows]
    logits = logits[rows].masked_fill(~eligible[rows], -torch.inf)
    log_share = logits.log_softmax(1).masked_fill(~positive, 0)
    row_means = log_share.sum(1) / positive.sum(1)
    return -row_means.sum() / max(1, len(logits))


def _to_float32(x: Tensor) -> Tensor:
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.to(dtype)
