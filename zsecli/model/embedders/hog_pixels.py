"""The baselines that learn nothing, pixels and HOG. They have a [Ret] vector but no tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from zsecli.arrays import Floats, Pixels
from zsecli.data.embedded import Embedded
from zsecli.errors import ZseError
from zsecli.images.preprocess_rules import Modality, Preprocess

HOG_OPTIONS: dict[str, Any] = {"orientations": 9, "pixels_per_cell": (16, 16), "cells_per_block": (2, 2)}
LUMA = np.array([0.299, 0.587, 0.114])  # weights of red, green and blue, ITU-R BT.601


class PixelEmbedder:
    """Grey values of a thumbnail, minus their mean: what can be had without any model. All 0 for a blank picture."""

    tokens = 0
    n_kept: int | None = None
    device = torch.device("cpu")
    side = 32

    def __init__(self) -> None:
        self.width = self.token_width = self.side**2
        self.preprocess = Preprocess(self.side, interpolation="box")
        self.about = {"baseline": f"{self.side} x {self.side} grey values, mean removed"}

    def embed(self, pictures: Pixels, modality: Modality) -> Embedded:
        grey = _to_grey(pictures).reshape(len(pictures), -1)
        centred = grey - grey.mean(1, keepdims=True)
        is_varied = np.ptp(grey, axis=1, keepdims=True) > 0  # else the rounding errors would pose as a picture
        return Embedded(centred * is_varied)


class HogEmbedder:
    """Histograms of oriented gradients (Dalal and Triggs 2005), by scikit-image."""

    tokens = 0
    n_kept: int | None = None
    device = torch.device("cpu")
    side = 128

    def __init__(self) -> None:
        try:
            from skimage.feature import hog
        except ImportError as error:
            raise ZseError("the hog baseline needs scikit-image", "pip install scikit-image") from error
        self.hog = hog
        self.preprocess = Preprocess(self.side, interpolation="bilinear")
        self.width = self.token_width = len(hog(np.zeros((self.side, self.side)), **HOG_OPTIONS))
        self.about = {"baseline": f"HOG of {self.side} x {self.side} grey values, {HOG_OPTIONS}"}

    def embed(self, pictures: Pixels, modality: Modality) -> Embedded:
        histograms = [self.hog(picture, **HOG_OPTIONS) for picture in _to_grey(pictures)]
        return Embedded(np.array(histograms, np.float32))


def _to_grey(pictures: Pixels) -> Floats:
    """Pictures (B, S, S, 3) -> luma (B, S, S) float32 in [0, 1]."""
    return (pictures @ LUMA / 255).astype(np.float32)
