"""The baselines that learn nothing: pixels and HOG. They have [Ret] alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from zsecli.arrays import Floats
from zsecli.data.embedded import Embedded
from zsecli.errors import ZseError
from zsecli.images.preprocess_rules import Preprocess, Role

CELLS: dict[str, Any] = {"orientations": 9, "pixels_per_cell": (16, 16), "cells_per_block": (2, 2)}


class PixelEmbedder:
    """Grey values of a thumbnail, about their mean: what no model at all achieves. Of a blank picture they are 0."""

    tokens = 0
    kept: int | None = None
    device = torch.device("cpu")
    side = 32

    def __init__(self) -> None:
        self.width = self.token_width = self.side**2
        self.preprocess = Preprocess(self.side, interpolation="box")
        self.about = {"baseline": f"{self.side} x {self.side} grey values, mean removed"}

    def embed(self, pictures: NDArray[np.uint8], role: Role) -> Embedded:
        grey = _grey(pictures).reshape(len(pictures), -1)
        varied = np.ptp(grey, axis=1, keepdims=True) > 0  # else rounding would be left, as if it were a picture
        return Embedded((grey - grey.mean(1, keepdims=True)) * varied)


class HogEmbedder:
    """Histograms of oriented gradients (Dalal and Triggs 2005), by scikit-image."""

    tokens = 0
    kept: int | None = None
    device = torch.device("cpu")

    def __init__(self) -> None:
        try:
            from skimage.feature import hog
        except ImportError as error:
            raise ZseError("the hog baseline needs scikit-image", "pip install scikit-image") from error
        self.hog = hog
        self.preprocess = Preprocess(128, interpolation="bilinear")
        self.width = self.token_width = len(hog(np.zeros((128, 128)), **CELLS))
        self.about = {"baseline": f"HOG of 128 x 128 grey values, {CELLS}"}

    def embed(self, pictures: NDArray[np.uint8], role: Role) -> Embedded:
        return Embedded(np.array([self.hog(p, **CELLS) for p in _grey(pictures)], np.float32))


def _grey(pictures: NDArray[np.uint8]) -> Floats:
    """Luma (B, S, S) float32 in [0, 1] of pictures (B, S, S, 3), ITU-R BT.601."""
    return (pictures @ np.array([0.299, 0.587, 0.114]) / 255).astype(np.float32)
