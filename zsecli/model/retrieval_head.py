"""The retrieval vector: what the backbone's own head says of a picture, without what tells sketches from photos."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.config import RetrievalConfig
from zsecli.model.modality_mean import ModalityMean


class Retrieval(NamedTuple):
    """What is said of B pictures as wholes.

    vector: (B, R) of length 1, whose cosine finds photos. feature: (B, F), less its mean. logits: (B, C) of the classes
    that the backbone was trained on.
    """

    vector: Tensor
    feature: Tensor
    logits: Tensor


class RetrievalHead(nn.Module):
    """The backbone's own pooled feature and class probabilities, made into one vector.

    Args:
        features, classes: F and C of the classifier that the backbone was trained with.
        width: of the token [Ret], which adds to the feature through a layer that begins at 0; None: it is the feature.
    """

    def __init__(self, config: RetrievalConfig, features: int, classes: int, width: int | None) -> None:
        super().__init__()
        self.config = config
        self.add_ret = None if width is None else nn.Linear(width, features, bias=False)
        if self.add_ret is not None:
            nn.init.zeros_(self.add_ret.weight)
        self.feature_mean, self.class_mean = ModalityMean(features), ModalityMean(classes)
        self.width = features + classes

    def forward(self, feature: Tensor, ret: Tensor, is_sketch: bool, classifier: nn.Module) -> Retrieval:
        """Pooled features (B, F) and tokens [Ret] (B, D) of pictures of one modality."""
        if self.add_ret is not None:
            feature = feature + self.add_ret(ret)
        logits = classifier(feature)
        with torch.autocast(feature.device.type, enabled=False):
            # the root makes cosines of probabilities Bhattacharyya coefficients, which rare classes count in too
            roots = (logits.float() / self.config.temperature).softmax(-1).clamp(min=1e-12).sqrt()
            classes = self.class_mean(roots, is_sketch)
            own = self.feature_mean(feature.float(), is_sketch)
            share = self.config.class_share
            parts = [(1 - share) ** 0.5 * F.normalize(own, dim=-1), share**0.5 * F.normalize(classes, dim=-1)]
            return Retrieval(torch.cat(parts, -1), own, logits)
