"""How a picture becomes the network's input, as data: it travels with the weights and into every store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Modality = Literal["sketch", "photo"]
Role = Modality  # its name in model/, train/ and explain/ so far
SketchRule = Literal["resize", "crop", "released"]
PhotoRule = Literal["resize", "released"]
Interpolation = Literal["box", "bilinear", "bicubic"]


@dataclass(frozen=True)
class Preprocess:
    """Side in pixels, normalisation, and the rule for each modality (see `zsecli.images.decode`).

    resize: stretch to size x size.
    crop: cut to the strokes, keep the aspect, pad with the paper's colour to a square.
    released: what the authors' code does, to the rounding.
    """

    size: int = 224
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: Interpolation = "bicubic"
    sketch: SketchRule = "resize"
    photo: PhotoRule = "resize"
