"""One part of a step: a batch through the network to its losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F

from zsecli.images.preprocess_rules import Modality
from zsecli.model.backbone import Encoding
from zsecli.model.embedders.base import normalise
from zsecli.model.network import ZSENetwork
from zsecli.model.retrieval_head import Retrieval
from zsecli.model.scoring import Score, compute_centred_cosine
from zsecli.model.selection import mask_of_kept
from zsecli.train.batches import Batch
from zsecli.train.config import TrainConfig
from zsecli.train.losses import contrastive, correspondence, hardest, matching, triplet

LOSSES = ("loss", "ret", "match", "outline", "distill", "own")  # as the log calls them; the first is the weighted sum


@dataclass(frozen=True)
class Losses:
    """Scalars: the weighted sum, and its parts before weighting."""

    total: Tensor
    ret: Tensor
    match: Tensor
    outline: Tensor
    distill: Tensor | None = None
    own: Tensor | None = None

    def values(self) -> Tensor:
        """(L,) in the order of LOSSES, without gradients; 0 for what a way of training does not have."""
        parts = (self.total, self.ret, self.match, self.outline, self.distill, self.own)
        return (
            torch.stack([torch.zeros_like(self.total) if part is None else part for part in parts])
            .detach()
            .float()
            .cpu()
        )


def losses(network: ZSENetwork, batch: Batch, config: TrainConfig) -> Losses:
    """The losses of a batch; with several processes each holds its share, and the mean over them is the whole."""
    ret, match = _retrieval(network, batch, config)
    outline = torch.zeros_like(ret) if batch.outlines is None else _outlines(network, *batch.outlines, config)
    total = config.ret_weight * ret + config.match_weight * match + config.outline_weight * outline
    return Losses(total, ret, match, outline)


def _retrieval(network: ZSENetwork, batch: Batch, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """The losses on [Ret] and on the relation score."""
    sketch, photo = encode(network, batch.sketch, "sketch", config), encode(network, batch.photo, "photo", config)
    if not config.match_weight and config.ret_loss == "contrastive":  # which needs no pair to be scored
        ret = _contrastive(sketch, photo, batch, config)
        return ret, torch.zeros_like(ret)
    if config.candidates:
        score, match, counts = _with_nearest(network, sketch, photo, batch, config.candidates)
    elif config.hard_negatives:
        score, match, counts = _with_hardest(network, sketch, photo, batch)
    else:
        score = network.score(sketch, photo)
        match = torch.arange(len(score.logit), device=score.logit.device) < len(score.logit) // 2
        counts = torch.ones_like(match)
    relation = matching(score.relation[counts], match[counts], config.high, config.low) * _weight(counts)
    if config.ret_loss == "contrastive":
        ret = _contrastive(sketch, photo, batch, config)
    else:
        near, far = score.ret_photo.chunk(2)
        usable = counts.chunk(2)[1]
        ret = triplet(score.ret_sketch[: len(usable)][usable], near[usable], far[usable], config.margin)
        ret = ret * _weight(usable)
    return ret, relation


def _outlines(network: ZSENetwork, sketch: Tensor, photo: Tensor, places: Tensor, config: TrainConfig) -> Tensor:
    ours, theirs = encode(network, sketch, "sketch", config), encode(network, photo, "photo", config)
    return locate_strokes(network, ours, theirs, places, config)


def locate_strokes(
    network: ZSENetwork, ours: Encoding, theirs: Encoding, places: Tensor, config: TrainConfig
) -> Tensor:
    """The loss on where the strokes of V outlines are found in their photos, by the tokens after cross-attention.

    Each token less its picture's mean.

    Args:
        places: (V, P, 2), see `zsecli.train.outlines.Outlined`.
    """
    score = network.score(ours, theirs)
    similarity = compute_centred_cosine(score.sketch[:, 1:], score.photo[:, 1:])
    target = spread(places.to(similarity.device), network.backbone.grid)
    if theirs.index.shape[1] < network.backbone.n_patches:  # what selection dropped can neither ask nor be found
        seen, found = (mask_of_kept(one.index, network.backbone.n_patches) for one in (ours, theirs))
        similarity = similarity.masked_fill(~found[:, None], -torch.inf)
        target = target * seen[:, :, None] * found[:, None]
        share = target.sum(2, keepdim=True)
        target = target / share.clamp(min=1e-6) * (share > 0.5)  # a stroke whose place was dropped is not asked
    return correspondence(similarity, target, config.temperature)


def spread(places: Tensor, grid: tuple[int, int], width: float = 0.5) -> Tensor:
    """Points (V, P, 2), x and y in patches from the corner -> (V, P, C) shares of each patch of the grid.

    They fall with the distance to a patch's middle as a Gaussian of standard deviation `width` patches, and add up to
    1; to 0 for a point that is NaN.
    """
    y, x = torch.meshgrid(*(torch.arange(side, device=places.device) + 0.5 for side in grid), indexing="ij")
    distance = (places.nan_to_num(0)[:, :, None] - torch.stack([x, y], 2).flatten(0, 1)).square().sum(-1)
    return (-distance / (2 * width**2)).softmax(2) * places.isfinite().all(2, keepdim=True)


def _contrastive(sketch: Encoding, photo: Encoding, batch: Batch, config: TrainConfig) -> Tensor:
    positive, counts = batch.positive.to(sketch.ret.device), batch.counts.to(sketch.ret.device)
    return contrastive(gather(sketch.ret), gather(photo.ret), positive, counts, config.temperature)


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    """The precision of the forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def encode(network: ZSENetwork, x: Tensor, role: Modality, config: TrainConfig) -> Encoding:
    """Pictures (R, S, S, 3) uint8, or what the frozen part made of them (R, 1 + P, C) float16 -> their Encoding."""
    device = next(network.parameters()).device
    if x.dtype == torch.uint8:
        return network.encode(normalise(x.numpy(), network.config.preprocess, device), role)
    blocks = config.freeze_blocks or 0
    return network.backbone.forward_trainable(x[:, 1:].to(device, torch.float32, non_blocking=True), blocks)


def _with_hardest(network: ZSENetwork, sketch: Encoding, photo: Encoding, batch: Batch) -> tuple[Score, Tensor, Tensor]:
    """R matching pairs and, for each sketch, the pair with the most similar photo of all processes that does not match.

    Returns:
        The score of 2 R pairs; (2 R,) bool: whether each matches, and whether there was such a photo.
    """
    every, similarity, positive, counted = _all_pairs(sketch, photo, batch)
    negative = hardest(similarity, counted & ~positive)
    own = torch.arange(len(negative), device=negative.device)
    photos = torch.cat([own + first_row(len(own)), negative.clamp(min=0)])
    match = torch.cat([torch.ones_like(own), torch.zeros_like(own)]).bool()
    return score_pairs(network, sketch, own.repeat(2), every, photos), match, match | (negative >= 0).repeat(2)


def _with_nearest(
    network: ZSENetwork, sketch: Encoding, photo: Encoding, batch: Batch, count: int
) -> tuple[Score, Tensor, Tensor]:
    """For each of R sketches the pairs with the `count` most similar photos of all processes.

    Returns:
        The score of R * count pairs; (R * count,) bool: whether each matches, and whether it counts.
    """
    every, similarity, positive, counted = _all_pairs(sketch, photo, batch)
    photos = similarity.masked_fill(~counted, -torch.inf).topk(min(count, similarity.shape[1])).indices
    sketches = torch.arange(len(photos), device=photos.device).repeat_interleave(photos.shape[1])
    score = score_pairs(network, sketch, sketches, every, photos.flatten())
    return score, positive.gather(1, photos).flatten(), counted.gather(1, photos).flatten()


def _all_pairs(sketch: Encoding, photo: Encoding, batch: Batch) -> tuple[Encoding, Tensor, Tensor, Tensor]:
    """The photos of all processes; of R sketches with these C (R, C): cosine of [Ret], whether they match, count."""
    every = Encoding(gather(photo.tokens), gather(photo.index), photo.attention)
    assert photo.retrieval is None
    own = slice(first_row(len(sketch.ret)), first_row(len(sketch.ret)) + len(sketch.ret))
    similarity = F.normalize(sketch.ret.detach(), dim=-1) @ F.normalize(every.ret.detach(), dim=-1).T
    return every, similarity, batch.positive[own].to(similarity.device), batch.counts[own].to(similarity.device)


def _weight(counts: Tensor) -> Tensor | float:
    """Of a mean over what `counts` here, so that the mean over the processes is that over all that counts in them."""
    if not dist.is_initialized():
        return 1.0
    mean = counts.sum().float()
    dist.all_reduce(mean)
    return counts.sum() * dist.get_world_size() / mean.clamp(min=1)


def first_row(count: int) -> int:
    """The first row of this process among those of all, of which each has `count`."""
    return count * dist.get_rank() if dist.is_initialized() else 0


def score_pairs(
    network: ZSENetwork, sketch: Encoding, sketches: Tensor, photo: Encoding, photos: Tensor | None = None
) -> Score:
    """The pairs of rows `sketches` and `photos` (None: all in order); what a picture's pairs share is computed once."""
    ours = network.prepare_encoding(sketch, "sketch").take(sketches)
    theirs = network.prepare_encoding(photo, "photo")
    return network.score_prepared(ours, theirs if photos is None else theirs.take(photos))


def with_vector(vector: Tensor | None) -> Retrieval | None:
    """What an encoding needs of its pictures as wholes to be scored: (B, R) retrieval vectors."""
    return None if vector is None else Retrieval(vector, vector, vector)


def gather(x: Tensor) -> Tensor:
    """(R, ...) of this process -> (W * R, ...) of all of them, by rank, with gradients."""
    return _Gather.apply(x) if dist.is_initialized() else x


class _Gather(torch.autograd.Function):
    """all_gather; backward a process gets what the losses of all of them say of its share."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
