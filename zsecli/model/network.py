"""The whole network: `encode()` for a picture, `score()` for pairs of encoded pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zsecli.images.preprocess_rules import Role
from zsecli.model.backbone import Backbone, Encoding
from zsecli.model.config import ModelConfig
from zsecli.model.cross_attention import Prepared
from zsecli.model.scoring import Score, Scoring


class ZSENetwork(Scoring):
    """Backbone, cross-attention and relation network as `config` says.

    Args:
        pretrained: fetch the backbone's own weights through timm (for a new network, not for a checkpoint).
        weights: the backbone's weights as a local file instead.
    """

    def __init__(self, config: ModelConfig, pretrained: bool = False, weights: Path | None = None) -> None:
        backbone = Backbone(config.backbone, config.tokenizer, config.selection, pretrained, weights, config.retrieval)
        super().__init__(config, backbone.width, backbone.grid)
        self.backbone = backbone

    def lower(self, dtype: torch.dtype) -> None:
        super().lower(dtype)
        self.backbone.to(dtype)

    def encode(self, picture: Tensor, role: Role) -> Encoding:
        """Normalised pictures (B, 3, H, W) of one role -> tokens, [Ret] and [Ret]'s attention."""
        return self.backbone(picture.to(next(self.backbone.parameters()).dtype), role == "sketch")

    def score(self, sketch: Encoding, photo: Encoding) -> Score:
        """B pairs of encoded pictures, row by row."""
        return self.score_prepared(self.prepare_encoding(sketch, "sketch"), self.prepare_encoding(photo, "photo"))

    def prepare_encoding(self, encoding: Encoding, role: Role) -> Prepared:
        """`prepare` for what `encode` made of pictures of this role."""
        return self.prepare(encoding.tokens, encoding.index, role, encoding.ret)
