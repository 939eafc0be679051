"""The work of `zse match --by rn` as it is usually written: the yardstick of `make bench`.

Ordinary PyTorch, with nothing kept from one pair to the next: every batch of sketches meets every batch of photos,
both are encoded anew for it, and each pair of the batch goes through the projections, the attention and the relation
network by itself. `pairwise` is a second implementation of the network's score, so it also checks the first.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.cross_attention import StreamLayer
from zsecli.model.network import ZSENetwork

BATCH = 20  # of sketches and of photos


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention of q (B, N, D) on k and v (B, M, D) -> (B, N, D), with its matrix spelt out."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def norm(layer: nn.Module, x: Tensor) -> Tensor:
    """The layer's norm of x (B, N, D), by its formula."""
    if isinstance(layer, nn.LayerNorm):
        return layer(x)
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    return layer.weight * (x - mean) / (std + 1e-6) + layer.bias


def stream(layer: StreamLayer, heads: int, own: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """One stream of B pairs: the tokens `own` (B, N, D), mixed as `query` and `key` say."""
    mixed = attention(layer.query(query), layer.key(key), layer.value(own), heads)
    x = norm(layer.norm1, own + layer.out(mixed))
    return norm(layer.norm2, x + layer.feed_forward(x))


def pairwise(network: ZSENetwork, sketch: Tensor, photo: Tensor) -> Tensor:
    """Relation scores (B,) of B pairs of tokens (B, 1 + P, D), no token dropped."""
    cross = network.cross_attention
    if cross.config.swap == "q":
        s = stream(cross.sketch, cross.config.heads, sketch, photo, sketch)
        p = stream(cross.photo, cross.config.heads, photo, sketch, photo)
    else:
        s = stream(cross.sketch, cross.config.heads, sketch, sketch, photo)
        p = stream(cross.photo, cross.config.heads, photo, photo, sketch)
    ret = F.cosine_similarity(sketch[:, 0], photo[:, 0])
    return network.relation(s[:, 1:], p[:, 1:], ret=ret)[0].sigmoid()


@torch.inference_mode()
def given_tokens(network: ZSENetwork, sketches: Tensor, photos: Tensor) -> Tensor:
    """Relation scores (S, G) of tokens (S, 1 + P, D) and (G, 1 + P, D)."""
    rows = []
    for sketch in sketches.split(BATCH):
        row = [
            pairwise(network, sketch.repeat_interleave(len(photo), 0), photo.repeat(len(sketch), 1, 1)).view(
                len(sketch), -1
            )
            for photo in photos.split(BATCH)
        ]
        rows.append(torch.cat(row, 1))
    return torch.cat(rows)


@torch.inference_mode()
def given_pictures(network: ZSENetwork, sketches: Tensor, photos: Tensor) -> Tensor:
    """Relation scores (S, G) of normalised pictures (S, 3, H, W) and (G, 3, H, W), these encoded for every batch."""
    rows = []
    for some in sketches.split(BATCH):
        sketch = network.encode(some, "sketch").tokens
        row = [given_tokens(network, sketch, network.encode(few, "photo").tokens) for few in photos.split(BATCH)]
        rows.append(torch.cat(row, 1))
    return torch.cat(rows)
