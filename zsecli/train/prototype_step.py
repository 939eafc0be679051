"""The losses of a step with prototypes: classes, distillation from the untouched backbone, and own photos.

Sketches and photos are drawn each by itself. The first photos of a step have outlines, which stand in for sketches of
the very object in the photo, of which there are few.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zsecli.model.backbone import Encoding
from zsecli.model.embedders.base import normalise
from zsecli.model.modality_mean import frozen_means
from zsecli.model.network import ZSENetwork
from zsecli.model.retrieval_head import Retrieval
from zsecli.train.batches import Batch
from zsecli.train.config import TrainConfig
from zsecli.train.heads import Heads
from zsecli.train.losses import class_name_loss, distillation_loss, ranking_loss
from zsecli.train.step import (
    Losses,
    encode_pictures,
    first_own_row,
    gather_processes,
    outline_loss,
    own_rows,
    retrieval_of_vector,
    score_pairs,
)

OUTLINE_SHARE = 0.5  # of `distill_weight`, for outlines: what they show is less sure


def compute_prototype_losses(network: ZSENetwork, heads: Heads, batch: Batch, config: TrainConfig) -> Losses:
    """The losses of a batch.

    With several processes each computes those of its share, and the mean over the processes is that of the whole.
    """
    sketch = encode_pictures(network, batch.sketch, "sketch", config)
    photo = encode_pictures(network, batch.photo, "photo", config)
    outline = None
    if batch.outlines is not None:
        with frozen_means(network):
            outline = encode_pictures(network, batch.outlines[0], "sketch", config)
    ret = _class_loss(heads, sketch, photo, batch, config)
    distill = own = match = located = torch.zeros_like(ret)
    if config.distill_weight:
        distill = _distill_loss(network, heads, photo, outline, batch)
    if config.own_weight and outline is not None:
        own = _own_photo_loss(outline, photo, config)
    if config.match_weight:
        match = _candidate_loss(network, sketch, outline, photo, batch, config)
    if config.outline_weight and outline is not None and batch.outlines is not None:
        outlined_photos = take_rows(photo, slice(len(outline.tokens)))
        located = outline_loss(network, outline, outlined_photos, batch.outlines[-1], config)
    total = config.ret_weight * ret + config.match_weight * match + config.outline_weight * located
    total = total + config.distill_weight * distill + config.own_weight * own
    return Losses(total=total, ret=ret, match=match, outline=located, distill=distill, own=own)


def take_rows(encoding: Encoding, rows: slice) -> Encoding:
    """The encoding of some pictures of a batch."""
    retrieval = encoding.retrieval
    if retrieval is not None:
        retrieval = Retrieval(*(field[rows] for field in retrieval))
    return replace(encoding, tokens=encoding.tokens[rows], index=encoding.index[rows], retrieval=retrieval)


def _require_retrieval(encoding: Encoding) -> Retrieval:
    assert encoding.retrieval is not None
    return encoding.retrieval


def _class_loss(heads: Heads, sketch: Encoding, photo: Encoding, batch: Batch, config: TrainConfig) -> Tensor:
    """Cross entropy of the classes by their prototypes, and of the backbone's classes that a sketch's noun names."""
    assert batch.classes is not None
    sketch_retrieval = _require_retrieval(sketch)
    photo_retrieval = _require_retrieval(photo)
    device = sketch_retrieval.feature.device
    sketch_class = batch.classes[0].to(device)
    photo_class = batch.classes[1].to(device)
    logits = heads.score_classes(torch.cat([sketch_retrieval.feature, photo_retrieval.feature]))
    loss = F.cross_entropy(logits, torch.cat([sketch_class, photo_class]), ignore_index=-1)
    if config.name_weight:
        name_loss = class_name_loss(sketch_retrieval.logits, heads.names[sketch_class])
        loss = loss + config.name_weight * name_loss
    return loss


def _distill_loss(network: ZSENetwork, heads: Heads, photo: Encoding, outline: Encoding | None, batch: Batch) -> Tensor:
    """Divergence of the class probabilities of photos, and of their outlines, from those of the untouched backbone."""
    temperature = network.config.retrieval.temperature
    pixels = normalise(batch.photo.numpy(), network.config.preprocess, photo.tokens.device)
    teacher = heads.teach(pixels, temperature)
    loss = distillation_loss(_require_retrieval(photo).logits, teacher, temperature)
    if outline is not None:
        teacher = teacher[: len(outline.tokens)]
        outline_logits = _require_retrieval(outline).logits
        loss = loss + OUTLINE_SHARE * distillation_loss(outline_logits, teacher, temperature)
    return loss


def _own_photo_loss(outline: Encoding, photo: Encoding, config: TrainConfig) -> Tensor:
    """Cross entropy of outlines choosing their own photo among those of all processes (InfoNCE)."""
    photos = gather_processes(photo.ret)
    own = first_own_row(len(photo.ret)) + torch.arange(len(outline.ret), device=photos.device)
    with torch.autocast(photos.device.type, enabled=False):
        return F.cross_entropy(outline.ret.float() @ photos.float().T / config.temperature, own)


def _candidate_loss(
    network: ZSENetwork, sketch: Encoding, outline: Encoding | None, photo: Encoding, batch: Batch, config: TrainConfig
) -> Tensor:
    """The relation loss of each sketch, and each outline, with the most similar photos of all processes.

    The most similar photo that matches is always among them, where there is one. The similarities get no gradient.
    """
    ret = gather_processes(photo.ret).detach()
    photos = Encoding(
        gather_processes(photo.tokens), gather_processes(photo.index), photo.attention, retrieval_of_vector(ret)
    )
    rows = own_rows(len(sketch.ret))
    positive = batch.positive[rows].to(ret.device)
    eligible = batch.eligible[rows].to(ret.device)
    queries = [sketch]
    if outline is not None:
        queries.append(outline)
        is_own_photo = _match_outlines(len(outline.ret), photo, len(ret))
        positive = torch.cat([positive, is_own_photo])
        eligible = torch.cat([eligible, torch.ones_like(is_own_photo)])
    query = Encoding(
        torch.cat([encoding.tokens for encoding in queries]),
        torch.cat([encoding.index for encoding in queries]),
        photo.attention,
        retrieval_of_vector(torch.cat([encoding.ret for encoding in queries]).detach()),
    )
    similarity = (query.ret @ ret.T).masked_fill(~eligible, -torch.inf)
    photo_rows = _choose_candidates(similarity, positive, config.candidates)
    query_rows = torch.arange(len(photo_rows), device=ret.device).repeat_interleave(photo_rows.shape[1])
    score = score_pairs(network, query, query_rows, photos, photo_rows.flatten())
    logits = score.logit.view_as(photo_rows)
    return ranking_loss(logits, positive.gather(1, photo_rows), eligible.gather(1, photo_rows))


def _match_outlines(outline_count: int, photo: Encoding, photo_count: int) -> Tensor:
    """(V, C) bool: which of the photos of all processes is the own photo of each outline of this process."""
    device = photo.ret.device
    rows = torch.arange(outline_count, device=device)
    is_own_photo = torch.zeros(outline_count, photo_count, dtype=torch.bool, device=device)
    is_own_photo[rows, first_own_row(len(photo.ret)) + rows] = True
    return is_own_photo


def _choose_candidates(similarity: Tensor, positive: Tensor, count: int) -> Tensor:
    """(Q, N) columns of the highest `similarity` (Q, C), after the highest that is `positive` (Q, C)."""
    best = similarity.masked_fill(~positive, -torch.inf).argmax(1, keepdim=True)
    has_positive = positive.gather(1, best)
    first = torch.where(has_positive, torch.inf, similarity.gather(1, best))
    return similarity.scatter(1, best, first).topk(min(count, similarity.shape[1]), dim=1).indices
