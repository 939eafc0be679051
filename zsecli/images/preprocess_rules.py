"""How a picture becomes the network's input, as data: it is stored with the weights and in every store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Modality = Literal["sketch", "photo"]
SketchRule = Literal["resize", "crop", "released"]
PhotoRule = Literal["resize", "released"]
Interpolation = Literal["box", "bilinear", "bicubic"]

REVISION = 2  # counts up when decoding or a rule gives other pixels: features made before are then made again


@dataclass(frozen=True)
class Preprocess:
    """The network's input of each modality (see `zsecli.images.preprocess`).

    resize: stretch to size x size.
    crop: cut to the strokes, keep the aspect, pad with the paper's colour to a square.
    released: what the authors' code does, to the rounding.
    """

    size: int = 224  # pixels, of a side
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)  # by which the input is normalised, a value for each channel
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    interpolation: Interpolation = "bicubic"
    sketch: SketchRule = "resize"
    photo: PhotoRule = "resize"
