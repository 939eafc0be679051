"""The retrieval vector made by the head that the backbone was trained with, the same for sketches and photos."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.config import RetrievalConfig
from zsecli.model.modality_mean import ModalityMean


class Retrieval(NamedTuple):
    """Output of the retrieval head for B pictures."""

    vector: Tensor
    """(B, R) float, of length 1: photos are ranked by its cosine."""

    feature: Tensor
    """(B, F) float: the pooled feature minus its mean."""

    logits: Tensor
    """(B, C) float: logits of the classes that the backbone was trained on."""


class RetrievalHead(nn.Module):
    """The backbone's pooled feature and class probabilities, combined into one vector.

    Args:
        n_features: F, inputs of the classifier that the backbone was trained with.
        n_classes: C, outputs of that classifier.
        ret_width: D of the token [Ret], which is added to the feature through a layer that starts at 0; None: [Ret] is
            the feature.
    """

    def __init__(self, config: RetrievalConfig, n_features: int, n_classes: int, ret_width: int | None) -> None:
        super().__init__()
        self.config = config
        self.add_ret = None if ret_width is None else nn.Linear(ret_width, n_features, bias=False)
        if self.add_ret is not None:
            nn.init.zeros_(self.add_ret.weight)
        self.feature_mean = ModalityMean(n_features)
        self.class_mean = ModalityMean(n_classes)
        self.width = n_features + n_classes

    def forward(self, feature: Tensor, ret: Tensor, is_sketch: bool, classifier: nn.Module) -> Retrieval:
        """Combine pooled features (B, F) and tokens [Ret] (B, D) of pictures of one modality."""
        if self.add_ret is not None:
            feature = feature + self.add_ret(ret)
        logits = classifier(feature)
        with torch.autocast(feature.device.type, enabled=False):
            # the cosine of square roots is the Bhattacharyya coefficient, in which rare classes count too
            roots = (logits.float() / self.config.temperature).softmax(-1).clamp(min=1e-12).sqrt()
            classes = self.class_mean(roots, is_sketch)
            centred = self.feature_mean(feature.float(), is_sketch)
            class_share = self.config.class_share
            feature_part = (1 - class_share) ** 0.5 * F.normalize(centred, dim=-1)
            class_part = class_share**0.5 * F.normalize(classes, dim=-1)
            return Retrieval(torch.cat([feature_part, class_part], -1), centred, logits)
