"""The part of the network that scores pairs of encoded pictures. It needs no backbone, and so no timm."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.images.preprocess_rules import Modality
from zsecli.model.config import ModelConfig
from zsecli.model.cross_attention import CrossAttention, Prepared
from zsecli.model.relation import RelationNetwork
from zsecli.model.selection import mask_of_kept, scatter_to_grid


@dataclass
class Score:
    """Network output for B pairs of pictures of P patches and C cells."""

    logit: Tensor
    """(B,) float: the relation score before the sigmoid."""

    kernel: Tensor
    """(B, C, C) float: cosine of sketch cell (row) and photo cell (column)."""

    sketch: Tensor
    """(B, 1 + P, D) float: sketch tokens after cross-attention, [Ret] and then the whole grid."""

    photo: Tensor
    """(B, 1 + P, D) float: photo tokens after cross-attention."""

    shares: Tensor | None = None
    """(B, P, P) float: what each pair of patches adds to the logit; None where the logit is no such sum."""

    @property
    def relation(self) -> Tensor:
        """(B,) relation score in (0, 1)."""
        return self.logit.sigmoid()

    @property
    def ret_sketch(self) -> Tensor:
        """(B, D) the sketches' [Ret] after cross-attention."""
        return self.sketch[:, 0]

    @property
    def ret_photo(self) -> Tensor:
        """(B, D) the photos' [Ret] after cross-attention."""
        return self.photo[:, 0]


def compute_centred_cosine(sketch: Tensor, photo: Tensor) -> Tensor:
    """Cosines (B, P, Q) float32 of patch tokens (B, P, D) and (B, Q, D), each minus the mean of its picture.

    The mean tells what the whole picture shows and is the same in every patch; what is left tells patches apart.
    """
    with torch.autocast(sketch.device.type, enabled=False):
        return _centre(sketch) @ _centre(photo).transpose(1, 2)


def _centre(tokens: Tensor) -> Tensor:
    """Patch tokens (B, P, D) minus their mean, at length 1, float32."""
    tokens = tokens.float()
    return F.normalize(tokens - tokens.mean(1, keepdim=True), dim=-1)


class Scoring(nn.Module):
    """Cross-attention and relation network.

    Args:
        width: D of the tokens.
        grid: rows and columns of the P patches.
    """

    def __init__(self, config: ModelConfig, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.n_patches = grid[0] * grid[1]
        self.cross_attention = CrossAttention(config.cross_attention, width)
        self.relation = RelationNetwork(config.relation, width, grid)

    def cast(self, dtype: torch.dtype) -> None:
        """Compute in `dtype` from now on, except for kernels and the scores computed from them."""
        self.cross_attention.to(dtype)
        if self.relation.pool is not None:
            self.relation.pool.to(dtype)

    @property
    def has_own_ret(self) -> bool:
        """Whether the retrieval vector is none of the tokens, so that `prepare` needs it too."""
        return self.config.retrieval.kind == "head"

    def prepare(self, tokens: Tensor, index: Tensor, modality: Modality, ret: Tensor | None = None) -> Prepared:
        """Compute what all pairs need of encoded pictures, once per picture.

        Args:
            tokens: (B, 1 + T, D), [Ret] first.
            index: (B, T) int64 patch numbers of the tokens.
            ret: (B, R) retrieval vectors, for a network that has its own.
        """
        tokens = tokens.to(next(self.cross_attention.parameters()).dtype)
        drops_blank = self.config.selection.blank == "drop" and modality == "sketch"
        if index.shape[1] == self.n_patches and not drops_blank:
            return self.cross_attention.prepare(tokens, modality, ret=ret)
        patches = scatter_to_grid(tokens[:, 1:].transpose(1, 2), index, self.n_patches).transpose(1, 2)
        patch_mask = mask_of_kept(index, self.n_patches)
        if drops_blank:
            patch_mask = patch_mask & patches.any(-1)
        ret_mask = torch.ones_like(index[:, :1], dtype=torch.bool)
        whole_grid = torch.cat([tokens[:, :1], patches], 1)
        return self.cross_attention.prepare(whole_grid, modality, torch.cat([ret_mask, patch_mask], 1), ret)

    def score_prepared(self, sketch: Prepared, photo: Prepared) -> Score:
        """Score B pairs, row by row."""
        sketch_stream, photo_stream = self.cross_attention(sketch, photo)
        logit, kernel, shares = self.relation(
            sketch_stream[:, 1:],
            photo_stream[:, 1:],
            None if sketch.mask is None else sketch.mask[:, 1:],
            None if photo.mask is None else photo.mask[:, 1:],
            F.cosine_similarity(sketch.ret.float(), photo.ret.float(), dim=-1),
        )
        return Score(logit, kernel, sketch_stream, photo_stream, shares)
