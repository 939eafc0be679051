"""Modules that only training needs: a prototype for each class, and the untouched backbone as a teacher."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.errors import UsageError
from zsecli.model.class_names import match_names
from zsecli.model.network import ZSENetwork
from zsecli.model.trunk_embed import TrunkEmbed

SHARPNESS = 20.0  # factor of cosines with prototypes, an inverse temperature


class Heads(nn.Module):
    """Prototypes of the K seen classes, and the class probabilities of the backbone before training.

    A prototype is initialised with the mean of the classifier's rows for the classes that its noun names, else at
    random.

    Raises:
        UsageError: the network does not keep its backbone's head.
    """

    names: Tensor

    def __init__(self, network: ZSENetwork, nouns: Sequence[str]) -> None:
        super().__init__()
        if network.backbone.retrieval_head is None:
            raise UsageError(
                "prototypes and distillation need a network that keeps its backbone's head",
                "--preset small, or a preset with another --ret-loss",
            )
        embed = network.backbone.vit.patch_embed
        backbone = embed.trunk if isinstance(embed, TrunkEmbed) else network.backbone.vit
        self.teacher: nn.Module = copy.deepcopy(backbone).eval().requires_grad_(False)
        classifier = network.backbone.classifier
        self.register_buffer("names", match_names(nouns, classifier.out_features), persistent=False)
        is_named = self.names.any(1)
        start = F.normalize(torch.randn(len(nouns), classifier.in_features), dim=1)
        weight = classifier.weight.detach().cpu().float()
        start[is_named] = F.normalize(self.names[is_named].float() @ weight, dim=1)
        self.prototypes = nn.Parameter(start)

    def train(self, mode: bool = True) -> Heads:
        """Set the mode of all but the teacher, which stays in evaluation mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def score_classes(self, feature: Tensor) -> Tensor:
        """Features (B, F) -> logits (B, K) of the seen classes."""
        return SHARPNESS * F.normalize(feature.float(), dim=-1) @ F.normalize(self.prototypes, dim=-1).T

    @torch.no_grad()
    def teach(self, picture: Tensor, temperature: float) -> Tensor:
        """The untouched backbone's class probabilities (B, C) of normalised pictures (B, 3, H, W)."""
        logits: Tensor = self.teacher(picture)
        return (logits.float() / temperature).softmax(-1)
