"""The losses of a step with prototypes: what classes pictures show, what the backbone knew before, and own photos.

Sketches and photos are drawn each by itself. The first photos of a step have outlines, which are sketches of what they
show: they stand in for sketches of the very thing, of which there are few.
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
from zsecli.train.losses import choice, divergence, named_classes
from zsecli.train.step import Losses, encode, first_row, gather, locate_strokes, score_pairs, with_vector

OUTLINE_SHARE = 0.5  # of `distill_weight`, for outlines: what they show is less sure


def prototype_losses(network: ZSENetwork, heads: Heads, batch: Batch, config: TrainConfig) -> Losses:
    """The losses of a batch; with several processes each holds its share, and the mean over them is the whole."""
    sketch, photo = encode(network, batch.sketch, "sketch", config), encode(network, batch.photo, "photo", config)
    outline = None
    if batch.outlines is not None:
        with frozen_means(network):
            outline = encode(network, batch.outlines[0], "sketch", config)
    ret = _classify(heads, _retrieval(sketch), _retrieval(photo), batch, config)
    nothing = torch.zeros_like(ret)
    distill = _distill(network, heads, photo, outline, batch, config) if config.distill_weight else nothing
    own = _find_own(outline, photo, config) if outline is not None and config.own_weight else nothing
    match = _relate(network, sketch, outline, photo, batch, config) if config.match_weight else nothing
    located = nothing
    if outline is not None and batch.outlines is not None and config.outline_weight:
        moved = rows_of(photo, slice(len(outline.tokens)))
        located = locate_strokes(network, outline, moved, batch.outlines[-1], config)
    total = config.ret_weight * ret + config.match_weight * match + config.outline_weight * located
    total = total + config.distill_weight * distill + config.own_weight * own
    return Losses(total, ret, match, located, distill, own)


def _retrieval(encoding: Encoding) -> Retrieval:
    assert encoding.retrieval is not None
    return encoding.retrieval


def _classify(heads: Heads, sketch: Retrieval, photo: Retrieval, batch: Batch, config: TrainConfig) -> Tensor:
    """Cross entropy of the classes by their prototypes, and of the backbone's classes that a sketch's noun names."""
    assert batch.classes is not None
    of_sketch, of_photo = (labels.to(sketch.feature.device) for labels in batch.classes)
    logits = heads.score_classes(torch.cat([sketch.feature, photo.feature]))
    loss = F.cross_entropy(logits, torch.cat([of_sketch, of_photo]), ignore_index=-1)
    if config.name_weight:
        loss = loss + config.name_weight * named_classes(sketch.logits, heads.names[of_sketch])
    return loss


def _distill(
    network: ZSENetwork, heads: Heads, photo: Encoding, outline: Encoding | None, batch: Batch, config: TrainConfig
) -> Tensor:
    """How far the class probabilities of photos, and of their outlines, are from what the untouched backbone says."""
    temperature = network.config.retrieval.temperature
    pictures = normalise(batch.photo.numpy(), network.config.preprocess, photo.tokens.device)
    known = heads.teach(pictures, temperature)
    loss = divergence(_retrieval(photo).logits, known, temperature)
    if outline is not None:
        known = known[: len(outline.tokens)]
        loss = loss + OUTLINE_SHARE * divergence(_retrieval(outline).logits, known, temperature)
    return loss


def _find_own(outline: Encoding, photo: Encoding, config: TrainConfig) -> Tensor:
    """Cross entropy of outlines choosing their own photo among those of all processes (InfoNCE)."""
    photos = gather(photo.ret)
    own = first_row(len(photo.ret)) + torch.arange(len(outline.ret), device=photos.device)
    with torch.autocast(photos.device.type, enabled=False):
        return F.cross_entropy(outline.ret.float() @ photos.float().T / config.temperature, own)


def _relate(
    network: ZSENetwork, sketch: Encoding, outline: Encoding | None, photo: Encoding, batch: Batch, config: TrainConfig
) -> Tensor:
    """The relation loss of each sketch, and each outline, with the most similar photos of all processes.

    A photo that matches is among these where there is one, the most similar. What retrieval says is taken as it is.
    """
    tokens, index, ret = gather(photo.tokens), gather(photo.index), gather(photo.ret).detach()
    own = slice(first_row(len(sketch.ret)), first_row(len(sketch.ret)) + len(sketch.ret))
    positive, counted = batch.positive[own].to(ret.device), batch.counts[own].to(ret.device)
    queries = [sketch]
    if outline is not None:
        queries.append(outline)
        rows = torch.arange(len(outline.ret), device=ret.device)
        is_own = torch.zeros(len(rows), len(ret), dtype=torch.bool, device=ret.device)
        is_own[rows, first_row(len(photo.ret)) + rows] = True
        positive, counted = torch.cat([positive, is_own]), torch.cat([counted, torch.ones_like(is_own)])
    query = Encoding(
        torch.cat([part.tokens for part in queries]),
        torch.cat([part.index for part in queries]),
        photo.attention,
        with_vector(torch.cat([part.ret for part in queries]).detach()),
    )
    similarity = (query.ret @ ret.T).masked_fill(~counted, -torch.inf)
    best = similarity.masked_fill(~positive, -torch.inf).argmax(1, keepdim=True)
    first = torch.where(positive.gather(1, best), torch.inf, similarity.gather(1, best))
    photos = similarity.scatter(1, best, first).topk(min(config.candidates, len(ret)), dim=1).indices
    sketches = torch.arange(len(photos), device=ret.device).repeat_interleave(photos.shape[1])
    every = Encoding(tokens, index, photo.attention, with_vector(ret))
    score = score_pairs(network, query, sketches, every, photos.flatten())
    return choice(score.logit.view_as(photos), positive.gather(1, photos), counted.gather(1, photos))


def rows_of(encoding: Encoding, rows: slice) -> Encoding:
    """Some pictures of a batch."""
    retrieval = None if encoding.retrieval is None else Retrieval(*(x[rows] for x in encoding.retrieval))
    return replace(encoding, tokens=encoding.tokens[rows], index=encoding.index[rows], retrieval=retrieval)
