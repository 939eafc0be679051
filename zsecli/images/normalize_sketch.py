"""A sketch as dark strokes on bright, even paper, however it was drawn or photographed."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from zsecli.images.preprocess_rules import Modality, Preprocess
from zsecli.images.tiles import iterate_tiles

Change = Literal["inverted", "evened"]

DARK = 128  # grey level below which paper is dark
CONTRAST = 16  # grey levels by which ink must differ from paper
SIDE, GAP = 64, 7  # of the small picture in which light is looked for, in which strokes are narrower than GAP
SHADOW = 0.4  # of the brightest paper: what is darker is ink
CLEAN = 0.85  # of 2,377 clean drawings, none comes below 0.95
_SAID: dict[Change, str] = {"inverted": "drawn bright on dark, so inverted", "evened": "lit unevenly, so evened out"}


def paper_colour(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The border's median, a value for each channel (C,) of a picture (H, W, C)."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.median(border, axis=0)


def find_stroke_box(grey: NDArray[Any]) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of what is dark in a picture (H, W) of 0 to 255; None where nothing stands out."""
    bright, ink = np.percentile(grey, 95), float(grey.min())
    if bright - ink < CONTRAST:
        return None
    dark = grey < (bright + ink) / 2
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def normalize_picture(
    image: Image.Image, modality: Modality, preprocess: Preprocess
) -> tuple[Image.Image, tuple[Change, ...]]:
    """A decoded picture as the network and a reader of its explanation see it, and what was done to it for that.

    A sketch drawn bright on dark (a blackboard, a dark screen) is inverted, and uneven light on its paper is evened
    out. The rule `released` does what the authors do, neither.
    """
    done: tuple[Change, ...] = ()
    if modality == "sketch" and preprocess.sketch != "released":
        if _bright_on_dark(image):
            image, done = ImageOps.invert(image.convert("RGB")), ("inverted",)
        evened = _evened(image)
        if evened is not None:
            image, done = evened, (*done, "evened")
    return image, done


def describe_changes(changes: Counter[Change]) -> str:
    """How many sketches were changed, in words.

    >>> said(Counter(inverted=2, evened=1))
    '2 sketches drawn bright on dark, so inverted; 1 sketch lit unevenly, so evened out'
    """
    return "; ".join(
        f"{changes[change]} sketch{'es' if changes[change] > 1 else ''} {words}"
        for change, words in _SAID.items()
        if changes[change]
    )


def describe_changes_of_one(changes: tuple[Change, ...]) -> str:
    """The same of a single sketch."""
    return "; ".join(_SAID[change] for change in changes)


def _bright_on_dark(image: Image.Image) -> bool:
    """Whether border and most of a sketch are dark, and what stands out from them is bright.

    Most of it: a sheet that was photographed on a dark table, or in a vignette, has a dark border too.
    """
    grey = np.asarray(image.convert("L"))
    (ground,) = paper_colour(grey[..., None])
    return bool(ground < DARK and grey.max() - ground > ground - grey.min() and np.median(grey) < DARK)


def _evened(image: Image.Image) -> Image.Image | None:
    """The picture divided by the light on its paper; None where that is even enough to tell ink by one grey level.

    The light is what a morphological closing leaves: strokes vanish, edges of shadows stay where they are. It is even
    enough where what is dark in the whole picture spreads hardly further than what is darker than its surroundings.
    """
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    light = np.asarray(small.filter(ImageFilter.MaxFilter(GAP)).filter(ImageFilter.MinFilter(GAP)), np.float32)
    light = np.maximum(light, max(1.0, SHADOW * float(np.percentile(light, 95))))
    dark = find_stroke_box(np.asarray(small))
    ink = find_stroke_box(np.minimum(255, np.asarray(small) / light * 255))
    if dark is None or ink is None or _area(ink) >= CLEAN * _area(dark):
        return None
    full = Image.fromarray(light).resize(image.size, Image.Resampling.BILINEAR)
    evened = np.empty((image.height, image.width, 3), np.uint8)
    for left, top, tile in iterate_tiles(image):  # as floats the whole picture would be twelve times as large
        part = full.crop((left, top, left + tile.width, top + tile.height))
        pixels = np.asarray(tile.convert("RGB")) / np.asarray(part)[..., None] * 255
        evened[top : top + tile.height, left : left + tile.width] = np.minimum(np.rint(pixels), 255)
    return Image.fromarray(evened)


def _area(box: tuple[int, int, int, int]) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])
