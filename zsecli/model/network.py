"""The whole network: `encode()` for a picture, `score()` for pairs of encoded pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.data.preprocess import Role
from zsecli.model.backbone import Backbone, Encoding
from zsecli.model.config import ModelConfig, Precision
from zsecli.model.cross_attention import CrossAttention, Prepared
from zsecli.model.relation import RelationNetwork
from zsecli.model.selection import kept, to_grid

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Score:
    """What the network says of B pairs.

    logit: (B,) the relation score before the sigmoid.
    kernel: (B, C, C) cosine of sketch cell (row) and photo cell (column).
    sketch, photo: (B, 1 + P, D) tokens after cross-attention, on the whole grid behind [Ret].
    """

    logit: Tensor
    kernel: Tensor
    sketch: Tensor
    photo: Tensor

    @property
    def relation(self) -> Tensor:
        """(B,) relation score in (0, 1)."""
        return self.logit.sigmoid()

    @property
    def ret_sketch(self) -> Tensor:
        """(B, D) the sketches' retrieval tokens after cross-attention."""
        return self.sketch[:, 0]

    @property
    def ret_photo(self) -> Tensor:
        """(B, D) the photos'."""
        return self.photo[:, 0]


def centred_cosine(sketch: Tensor, photo: Tensor) -> Tensor:
    """Patch tokens (B, P, D) and (B, C, D), each less its picture's mean -> cosines (B, P, C), float32.

    The mean says what the whole picture shows, the same at every place; what is left tells places apart.
    """
    with torch.autocast(sketch.device.type, enabled=False):
        s, p = (F.normalize(x.float() - x.float().mean(1, keepdim=True), dim=-1) for x in (sketch, photo))
        return s @ p.transpose(1, 2)


class ZSENetwork(nn.Module):
    """Backbone, cross-attention and relation network as `config` says.

    Args:
        pretrained: fetch the backbone's own weights through timm (for a new network, not for a checkpoint).
        weights: the backbone's weights as a local file instead.
    """

    def __init__(self, config: ModelConfig, pretrained: bool = False, weights: Path | None = None) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, config.tokenizer, config.selection, pretrained, weights)
        self.cross_attention = CrossAttention(config.cross_attention, self.backbone.width)
        self.relation = RelationNetwork(config.relation, self.backbone.width, self.backbone.grid)

    def lower(self, precision: Precision) -> Self:
        """Compute in this precision from now on, all but what makes a kernel of cells, and a score of it."""
        for part in (self.backbone, self.cross_attention, self.relation.pool):
            if part is not None:
                part.to(DTYPES[precision])
        return self

    def encode(self, picture: Tensor, role: Role) -> Encoding:
        """Normalised pictures (B, 3, H, W) of one role -> tokens, [Ret] and [Ret]'s attention."""
        return self.backbone(picture.to(next(self.backbone.parameters()).dtype), role == "sketch")

    def prepare(self, tokens: Tensor, index: Tensor, role: Role) -> Prepared:
        """Encoded tokens (B, 1 + T, D) at grid places `index` (B, T) -> what all their pairs need, once a picture."""
        tokens = tokens.to(next(self.cross_attention.parameters()).dtype)
        places = self.backbone.places
        if index.shape[1] == places:
            return self.cross_attention.prepare(tokens, role)
        patches = to_grid(tokens[:, 1:].transpose(1, 2), index, places).transpose(1, 2)
        present = torch.cat([torch.ones_like(index[:, :1], dtype=torch.bool), kept(index, places)], 1)
        return self.cross_attention.prepare(torch.cat([tokens[:, :1], patches], 1), role, present)

    def score_prepared(self, sketch: Prepared, photo: Prepared) -> Score:
        """B pairs, row by row."""
        s, p = self.cross_attention(sketch, photo)
        logit, kernel = self.relation(
            s[:, 1:],
            p[:, 1:],
            None if sketch.kept is None else sketch.kept[:, 1:],
            None if photo.kept is None else photo.kept[:, 1:],
            F.cosine_similarity(sketch.tokens[:, 0].float(), photo.tokens[:, 0].float(), dim=-1),
        )
        return Score(logit, kernel, s, p)

    def score(self, sketch: Encoding, photo: Encoding) -> Score:
        """B pairs of encoded pictures, row by row."""
        return self.score_prepared(
            self.prepare(sketch.tokens, sketch.index, "sketch"), self.prepare(photo.tokens, photo.index, "photo")
        )
