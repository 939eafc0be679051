"""The whole network: `encode` for pictures, `score` for pairs of encoded pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from zsecli.images.preprocess_rules import Modality
from zsecli.model.backbone import Backbone, Encoding
from zsecli.model.config import ModelConfig
from zsecli.model.cross_attention import Prepared
from zsecli.model.scoring import Score, Scoring


class ZSENetwork(Scoring):
    """Backbone, cross-attention and relation network.

    Args:
        pretrained: download the backbone's weights through timm (for a new network, not for a checkpoint).
        weights: load the backbone's weights from this file instead.
    """

    def __init__(self, config: ModelConfig, pretrained: bool = False, weights: Path | None = None) -> None:
        backbone = Backbone(config.backbone, config.tokenizer, config.selection, pretrained, weights, config.retrieval)
        super().__init__(config, backbone.width, backbone.grid)
        self.backbone = backbone

    def cast(self, dtype: torch.dtype) -> None:
        super().cast(dtype)
        self.backbone.to(dtype)

    def encode(self, picture: Tensor, modality: Modality) -> Encoding:
        """Encode normalised pictures (B, 3, H, W) of one modality: tokens, [Ret] and its attention."""
        dtype = next(self.backbone.parameters()).dtype
        return self.backbone(picture.to(dtype), modality == "sketch")

    def score(self, sketch: Encoding, photo: Encoding) -> Score:
        """Score B pairs of encoded pictures, row by row."""
        return self.score_prepared(self.prepare_encoding(sketch, "sketch"), self.prepare_encoding(photo, "photo"))

    def prepare_encoding(self, encoding: Encoding, modality: Modality) -> Prepared:
        """`prepare` for the output of `encode` on pictures of this modality."""
        return self.prepare(encoding.tokens, encoding.index, modality, encoding.ret)
