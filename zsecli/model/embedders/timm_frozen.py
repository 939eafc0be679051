"""The baseline beside every result: a backbone trained on photos alone, frozen. It has [Ret] alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.data.config import resolve_data_config
from torch import nn

from zsecli.data.embedded import Embedded
from zsecli.images.preprocess_rules import Interpolation, Preprocess, Role
from zsecli.model.backbone import create
from zsecli.model.config import Precision
from zsecli.model.embedders.base import dtype_of, normalise
from zsecli.model.spec import ModelSpec


class FrozenEmbedder:
    """A timm backbone as it comes: its pooled map or class token is [Ret], there are no tokens."""

    tokens = 0
    kept: int | None = None

    def __init__(self, spec: ModelSpec, device: torch.device, precision: Precision = "fp32") -> None:
        model: nn.Module = create(spec.name, True, spec.file, num_classes=0)
        config: dict[str, Any] = resolve_data_config({}, model=model)
        kind: Interpolation = "bilinear" if config["interpolation"] == "bilinear" else "bicubic"
        self.preprocess = Preprocess(config["input_size"][1], config["mean"], config["std"], kind)
        self.dtype = dtype_of(precision, device)
        self.model, self.device = model.to(device, self.dtype).to(memory_format=torch.channels_last).eval(), device
        self.width = self.token_width = self.embed(
            np.zeros((1, self.preprocess.size, self.preprocess.size, 3), np.uint8), "photo"
        ).ret.shape[1]
        self.about = {"backbone": spec.name, "device": str(device)}

    @torch.inference_mode()
    def embed(self, pictures: NDArray[np.uint8], role: Role) -> Embedded:
        values = normalise(pictures, self.preprocess, self.device).to(self.dtype)
        return Embedded(self.model(values).float().cpu().numpy())
