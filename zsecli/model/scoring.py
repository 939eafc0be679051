"""The part of the network that scores pairs of encoded pictures. It needs no backbone, and so no timm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.images.preprocess_rules import Role
from zsecli.model.config import ModelConfig
from zsecli.model.cross_attention import CrossAttention, Prepared
from zsecli.model.relation import RelationNetwork
from zsecli.model.selection import kept, to_grid


@dataclass
class Score:
    """What the network says of B pairs.

    logit: (B,) the relation score before the sigmoid.
    kernel: (B, C, C) cosine of sketch cell (row) and photo cell (column).
    sketch, photo: (B, 1 + P, D) tokens after cross-attention, on the whole grid behind [Ret].
    shares: (B, P, P) what each pair of places adds to the logit, of a network whose logit is such a sum; else None.
    """

    logit: Tensor
    kernel: Tensor
    sketch: Tensor
    photo: Tensor
    shares: Tensor | None = None

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


class Scoring(nn.Module):
    """Cross-attention and relation network as `config` says, for tokens of `width` D on a `grid` of P places."""

    def __init__(self, config: ModelConfig, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.places = config, grid[0] * grid[1]
        self.cross_attention = CrossAttention(config.cross_attention, width)
        self.relation = RelationNetwork(config.relation, width, grid)

    def lower(self, dtype: torch.dtype) -> None:
        """Compute in `dtype` from now on, all but what makes a kernel of cells, and a score of it."""
        for part in (self.cross_attention, self.relation.pool):
            if part is not None:
                part.to(dtype)

    @property
    def has_own_ret(self) -> bool:
        """Whether pictures are retrieved by a vector that is none of their tokens, which `prepare` wants too."""
        return self.config.retrieval.kind == "head"

    def prepare(self, tokens: Tensor, index: Tensor, role: Role, ret: Tensor | None = None) -> Prepared:
        """Encoded tokens (B, 1 + T, D) at grid places `index` (B, T) -> what all their pairs need, once a picture.

        Args:
            ret: (B, R) the retrieval vectors, of a network that has its own.
        """
        tokens = tokens.to(next(self.cross_attention.parameters()).dtype)
        drops_blank = self.config.selection.blank == "drop" and role == "sketch"
        if index.shape[1] == self.places and not drops_blank:
            return self.cross_attention.prepare(tokens, role, ret=ret)
        patches = to_grid(tokens[:, 1:].transpose(1, 2), index, self.places).transpose(1, 2)
        is_kept = kept(index, self.places)
        if drops_blank:
            is_kept = is_kept & patches.any(-1)
        present = torch.cat([torch.ones_like(index[:, :1], dtype=torch.bool), is_kept], 1)
        return self.cross_attention.prepare(torch.cat([tokens[:, :1], patches], 1), role, present, ret)

    def score_prepared(self, sketch: Prepared, photo: Prepared) -> Score:
        """B pairs, row by row."""
        s, p = self.cross_attention(sketch, photo)
        logit, kernel, shares = self.relation(
            s[:, 1:],
            p[:, 1:],
            None if sketch.kept is None else sketch.kept[:, 1:],
            None if photo.kept is None else photo.kept[:, 1:],
            F.cosine_similarity(sketch.ret.float(), photo.ret.float(), dim=-1),
        )
        return Score(logit, kernel, s, p, shares)
