"""One chunk of a step: a batch through the network to its losses."""

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
from zsecli.train.losses import contrastive_loss, correspondence_loss, hardest_negatives, relation_loss, triplet_loss

LOSS_NAMES = ("loss", "ret", "match", "outline", "distill", "own")
"""Names of the losses in the log and in a state; the first is the weighted sum."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Scalars: the weighted sum, and its terms before weighting."""

    total: Tensor
    ret: Tensor
    match: Tensor
    """The relation loss."""
    outline: Tensor
    distill: Tensor | None = None
    own: Tensor | None = None

    def to_vector(self) -> Tensor:
        """(L,) in the order of LOSS_NAMES, without gradients; 0 for a loss that is not computed."""
        terms = []
        for term in (self.total, self.ret, self.match, self.outline, self.distill, self.own):
            terms.append(torch.zeros_like(self.total) if term is None else term)
        return torch.stack(terms).detach().float().cpu()


@dataclass(frozen=True, kw_only=True)
class _ScoredPairs:
    """N pairs of pictures, scored."""

    score: Score
    match: Tensor
    """(N,) bool."""
    eligible: Tensor
    """(N,) bool; other pairs are ignored."""


def compute_losses(network: ZSENetwork, batch: Batch, config: TrainConfig) -> Losses:
    """The losses of a batch.

    With several processes each computes those of its share, and the mean over the processes is that of the whole.
    """
    ret, match = _pair_losses(network, batch, config)
    outline = torch.zeros_like(ret)
    if batch.outlines is not None:
        sketch_pixels, photo_pixels, places = batch.outlines
        sketch = encode_pictures(network, sketch_pixels, "sketch", config)
        photo = encode_pictures(network, photo_pixels, "photo", config)
        outline = outline_loss(network, sketch, photo, places, config)
    total = config.ret_weight * ret + config.match_weight * match + config.outline_weight * outline
    return Losses(total=total, ret=ret, match=match, outline=outline)


def outline_loss(
    network: ZSENetwork, outline: Encoding, photo: Encoding, places: Tensor, config: TrainConfig
) -> Tensor:
    """The loss on where the strokes of V outlines are found in their photos, by the tokens after cross-attention.

    The mean of a picture's tokens is subtracted from each of them.

    Args:
        places: (V, P, 2), see `zsecli.train.outlines.OutlinePair`.
    """
    score = network.score(outline, photo)
    similarity = compute_centred_cosine(score.sketch[:, 1:], score.photo[:, 1:])
    target = spread_points(places.to(similarity.device), network.backbone.grid)
    patch_count = network.backbone.n_patches
    has_dropped_patches = photo.index.shape[1] < patch_count
    if has_dropped_patches:
        sketch_mask = mask_of_kept(outline.index, patch_count)
        photo_mask = mask_of_kept(photo.index, patch_count)
        similarity = similarity.masked_fill(~photo_mask[:, None], -torch.inf)
        target = target * sketch_mask[:, :, None] * photo_mask[:, None]
        share = target.sum(2, keepdim=True)
        is_present = share > 0.5  # a stroke whose patch of the photo was dropped is ignored
        target = target / share.clamp(min=1e-6) * is_present
    return correspondence_loss(similarity, target, config.temperature)


def spread_points(points: Tensor, grid: tuple[int, int], width: float = 0.5) -> Tensor:
    """Points (V, P, 2), x and y in patches from the corner -> (V, P, C) shares of each patch of the grid.

    They fall with the distance to a patch's middle as a Gaussian of standard deviation `width` patches, and add up to
    1; to 0 for a point that is NaN.
    """
    rows, columns = grid
    y = torch.arange(rows, device=points.device) + 0.5
    x = torch.arange(columns, device=points.device) + 0.5
    y, x = torch.meshgrid(y, x, indexing="ij")
    middles = torch.stack([x, y], 2).flatten(0, 1)
    is_known = points.isfinite().all(2, keepdim=True)
    offset = points.nan_to_num(0)[:, :, None] - middles
    square_distance = offset.square().sum(-1)
    share = (-square_distance / (2 * width**2)).softmax(2)
    return share * is_known


def autocast_forward(device: torch.device, config: TrainConfig) -> torch.autocast:
    """The precision of the forward pass."""
    return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")


def encode_pictures(network: ZSENetwork, pictures: Tensor, modality: Modality, config: TrainConfig) -> Encoding:
    """Encode pixels (R, S, S, 3) uint8, or outputs of the frozen part (R, 1 + P, C) float16, its mean first."""
    device = next(network.parameters()).device
    if pictures.dtype == torch.uint8:
        pixels = normalise(pictures.numpy(), network.config.preprocess, device)
        return network.encode(pixels, modality)
    tokens = pictures[:, 1:].to(device, torch.float32, non_blocking=True)
    return network.backbone.forward_trainable(tokens, config.freeze_blocks or 0)


def score_pairs(
    network: ZSENetwork, sketch: Encoding, sketch_rows: Tensor, photo: Encoding, photo_rows: Tensor | None = None
) -> Score:
    """Score pairs of rows, with what the pairs of a picture share computed once; `photo_rows` None: all in order."""
    prepared_sketch = network.prepare_encoding(sketch, "sketch").take(sketch_rows)
    prepared_photo = network.prepare_encoding(photo, "photo")
    if photo_rows is not None:
        prepared_photo = prepared_photo.take(photo_rows)
    return network.score_prepared(prepared_sketch, prepared_photo)


def retrieval_of_vector(vector: Tensor | None) -> Retrieval | None:
    """The part of an encoding that scores need beside tokens, of retrieval vectors (B, R)."""
    return None if vector is None else Retrieval(vector, vector, vector)


def gather_processes(x: Tensor) -> Tensor:
    """(R, ...) of this process -> (W * R, ...) of all of them, by rank, with gradients."""
    return _Gather.apply(x) if dist.is_initialized() else x


def first_own_row(count: int) -> int:
    """The first row of this process among those of all, of which each has `count`."""
    return count * dist.get_rank() if dist.is_initialized() else 0


def own_rows(count: int) -> slice:
    """The rows of this process among those of all, of which each has `count`."""
    first = first_own_row(count)
    return slice(first, first + count)


def _pair_losses(network: ZSENetwork, batch: Batch, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """The losses on [Ret] and on the relation score."""
    sketch = encode_pictures(network, batch.sketch, "sketch", config)
    photo = encode_pictures(network, batch.photo, "photo", config)
    if config.ret_loss == "contrastive" and not config.match_weight:  # no pair has to be scored
        ret = _contrast_batch(sketch, photo, batch, config)
        return ret, torch.zeros_like(ret)
    pairs = _choose_pairs(network, sketch, photo, batch, config)
    eligible = pairs.eligible
    match = relation_loss(pairs.score.relation[eligible], pairs.match[eligible], config.high, config.low)
    match = match * _process_weight(eligible)
    if config.ret_loss == "contrastive":
        return _contrast_batch(sketch, photo, batch, config), match
    positive, negative = pairs.score.ret_photo.chunk(2)
    has_negative = eligible.chunk(2)[1]
    anchor = pairs.score.ret_sketch[: len(has_negative)]
    ret = triplet_loss(anchor[has_negative], positive[has_negative], negative[has_negative], config.margin)
    return ret * _process_weight(has_negative), match


def _choose_pairs(
    network: ZSENetwork, sketch: Encoding, photo: Encoding, batch: Batch, config: TrainConfig
) -> _ScoredPairs:
    """The pairs of the relation loss, as `config` says; except for candidates, matching pairs come first."""
    if config.candidates:
        return _score_nearest(network, sketch, photo, batch, config.candidates)
    if config.hard_negatives:
        return _score_hardest(network, sketch, photo, batch)
    score = network.score(sketch, photo)
    pair_count = len(score.logit)
    match = torch.arange(pair_count, device=score.logit.device) < pair_count // 2
    return _ScoredPairs(score=score, match=match, eligible=torch.ones_like(match))


def _score_hardest(network: ZSENetwork, sketch: Encoding, photo: Encoding, batch: Batch) -> _ScoredPairs:
    """R matching pairs and, for each sketch, the pair with the most similar photo of all processes that does not match.

    Pairs of sketches without such a photo are not eligible.
    """
    photos, similarity, positive, eligible = _compare_all(sketch, photo, batch)
    negative = hardest_negatives(similarity, eligible & ~positive)
    rows = torch.arange(len(negative), device=negative.device)
    own_photo = rows + first_own_row(len(rows))
    photo_rows = torch.cat([own_photo, negative.clamp(min=0)])
    score = score_pairs(network, sketch, rows.repeat(2), photos, photo_rows)
    match = torch.cat([torch.ones_like(rows), torch.zeros_like(rows)]).bool()
    has_negative = (negative >= 0).repeat(2)
    return _ScoredPairs(score=score, match=match, eligible=match | has_negative)


def _score_nearest(network: ZSENetwork, sketch: Encoding, photo: Encoding, batch: Batch, count: int) -> _ScoredPairs:
    """For each of R sketches the pairs with the `count` most similar photos of all processes: R * count pairs."""
    photos, similarity, positive, eligible = _compare_all(sketch, photo, batch)
    count = min(count, similarity.shape[1])
    photo_rows = similarity.masked_fill(~eligible, -torch.inf).topk(count).indices
    sketch_rows = torch.arange(len(photo_rows), device=photo_rows.device).repeat_interleave(count)
    score = score_pairs(network, sketch, sketch_rows, photos, photo_rows.flatten())
    match = positive.gather(1, photo_rows).flatten()
    return _ScoredPairs(score=score, match=match, eligible=eligible.gather(1, photo_rows).flatten())


def _compare_all(sketch: Encoding, photo: Encoding, batch: Batch) -> tuple[Encoding, Tensor, Tensor, Tensor]:
    """Compare the R sketches of this process with the C photos of all processes.

    Returns:
        The photos; (R, C) each: cosine of [Ret], whether the pair matches, whether it is eligible.
    """
    assert photo.retrieval is None
    photos = Encoding(gather_processes(photo.tokens), gather_processes(photo.index), photo.attention)
    sketch_ret = F.normalize(sketch.ret.detach(), dim=-1)
    photo_ret = F.normalize(photos.ret.detach(), dim=-1)
    similarity = sketch_ret @ photo_ret.T
    rows = own_rows(len(sketch.ret))
    positive = batch.positive[rows].to(similarity.device)
    eligible = batch.eligible[rows].to(similarity.device)
    return photos, similarity, positive, eligible


def _contrast_batch(sketch: Encoding, photo: Encoding, batch: Batch, config: TrainConfig) -> Tensor:
    positive = batch.positive.to(sketch.ret.device)
    eligible = batch.eligible.to(sketch.ret.device)
    sketches = gather_processes(sketch.ret)
    photos = gather_processes(photo.ret)
    return contrastive_loss(sketches, photos, positive, eligible, config.temperature)


def _process_weight(eligible: Tensor) -> Tensor | float:
    """The weight of this process's mean over eligible pairs that makes the mean over processes that over all pairs."""
    if not dist.is_initialized():
        return 1.0
    total = eligible.sum().float()
    dist.all_reduce(total)
    return eligible.sum() * dist.get_world_size() / total.clamp(min=1)


class _Gather(torch.autograd.Function):
    """all_gather; backward, a process gets the gradient of the losses of all processes."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        gathered = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, x.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
