"""The baseline beside every result: a backbone trained on photos alone, frozen. It has a [Ret] vector but no tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from timm.data.config import resolve_data_config
from torch import nn

from zsecli.arrays import Pixels
from zsecli.data.embedded import Embedded
from zsecli.images.preprocess_rules import Interpolation, Modality, Preprocess
from zsecli.model.config import Precision
from zsecli.model.embedders.base import dtype_of, normalise
from zsecli.model.spec import ModelSpec
from zsecli.model.timm_models import create_model


class FrozenEmbedder:
    """A timm backbone with the weights it comes with; its pooled map or class token is [Ret]."""

    tokens = 0
    n_kept: int | None = None

    def __init__(self, spec: ModelSpec, device: torch.device, precision: Precision = "fp32") -> None:
        model: nn.Module = create_model(spec.name, True, spec.file, num_classes=0)
        data_config: dict[str, Any] = resolve_data_config({}, model=model)
        interpolation: Interpolation = "bilinear" if data_config["interpolation"] == "bilinear" else "bicubic"
        size = data_config["input_size"][1]
        self.preprocess = Preprocess(size, data_config["mean"], data_config["std"], interpolation)
        self.dtype = dtype_of(precision, device)
        self.model = model.to(device, self.dtype).to(memory_format=torch.channels_last).eval()
        self.device = device
        blank = np.zeros((1, size, size, 3), np.uint8)
        self.width = self.token_width = self.embed(blank, "photo").ret.shape[1]
        self.about = {"backbone": spec.name, "device": str(device)}

    @torch.inference_mode()
    def embed(self, pictures: Pixels, modality: Modality) -> Embedded:
        values = normalise(pictures, self.preprocess, self.device).to(self.dtype)
        return Embedded(self.model(values).float().cpu().numpy())
