"""One part of a step: a batch through the network to its losses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn import functional as F

from zsecli.data.preprocess import Role
from zsecli.model.backbone import Encoding
from zsecli.model.embedder import normalise
from zsecli.model.network import Score, ZSENetwork
from zsecli.train.config import TrainConfig
from zsecli.train.data import Batch
from zsecli.train.losses import contrastive, hardest, matching, triplet


@dataclass(frozen=True)
class Losses:
    """Scalars: the weighted sum, and its parts before weighting."""

    total: Tensor
    ret: Tensor
    match: Tensor


def losses(network: ZSENetwork, batch: Batch, config: TrainConfig) -> Losses:
    """The losses of a batch; with several processes each holds its share, and the mean over them is the whole."""
    sketch, photo = encode(network, batch.sketch, "sketch", config), encode(network, batch.photo, "photo", config)
    if config.hard_negatives:
        score, usable = _with_hardest(network, sketch, photo, batch)
    else:
        score = network.score(sketch, photo)
        usable = torch.ones(len(score.logit) // 2, dtype=torch.bool, device=score.logit.device)
    match = torch.arange(len(score.logit), device=usable.device) < len(usable)
    counts = torch.cat([torch.ones_like(usable), usable])
    relation = matching(score.relation[counts], match[counts], config.high, config.low)
    if config.ret_loss == "contrastive":
        positive, counted = batch.positive.to(usable.device), batch.counts.to(usable.device)
        ret = contrastive(_gather(sketch.ret), _gather(photo.ret), positive, counted, config.temperature)
    else:
        near, far = score.ret_photo.chunk(2)
        ret = triplet(score.ret_sketch[: len(usable)][usable], near[usable], far[usable], config.margin)
    return Losses(config.ret_weight * ret + config.match_weight * relation, ret, relation)


def encode(network: ZSENetwork, x: Tensor, role: Role, config: TrainConfig) -> Encoding:
    """Pictures (R, S, S, 3) uint8, or what the frozen part made of them (R, 1 + P, C) float16 -> their Encoding."""
    device = next(network.parameters()).device
    if x.dtype == torch.uint8:
        return network.encode(normalise(x.numpy(), network.config.preprocess, device), role)
    blocks = config.freeze_blocks or 0
    return network.backbone.finish(x[:, 1:].to(device, torch.float32, non_blocking=True), blocks)


def _with_hardest(network: ZSENetwork, sketch: Encoding, photo: Encoding, batch: Batch) -> tuple[Score, Tensor]:
    """R matching pairs and, for each sketch, the pair with the most similar photo of all processes that does not match.

    Returns:
        The score of 2 R pairs, and (R,) bool: whether there was such a photo.
    """
    count = len(sketch.ret)
    first = count * (dist.get_rank() if dist.is_initialized() else 0)
    every = Encoding(_gather(photo.tokens), _gather(photo.index), photo.attention)
    allowed = (batch.counts & ~batch.positive)[first : first + count].to(sketch.ret.device)
    with torch.no_grad():
        negative = hardest(F.normalize(sketch.ret, dim=-1) @ F.normalize(every.ret, dim=-1).T, allowed)
    own = torch.arange(count, device=negative.device)
    photos = torch.cat([own + first, negative.clamp(min=0)])
    return network.score(_rows(sketch, own.repeat(2)), _rows(every, photos)), negative >= 0


def _rows(encoding: Encoding, at: Tensor) -> Encoding:
    return Encoding(encoding.tokens[at], encoding.index[at], encoding.attention)


def _gather(x: Tensor) -> Tensor:
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
