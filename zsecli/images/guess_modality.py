"""Whether a picture is a sketch or a photo, by a look at it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zsecli.images.loader import load_picture
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess_rules import Modality

MOST_PIXELS = 2**22  # of a larger picture a reduced copy is looked at
SIDE = 64  # of the thumbnail in which colour is looked for
COLOURED = 16  # levels by which channels of a coloured pixel differ
MOST_COLOURED = 0.01  # share of a sketch's pixels
DARKEST_SHADE, BRIGHTEST_SHADE = 50, 205  # grey levels that are neither ink nor paper
MOST_SHADED = 0.15  # share of a sketch's pixels


def guess_modality(file: Path) -> Modality:
    """Dark strokes on paper without colour are a sketch, all else is a photo.

    Of a sketch at most 1 % of a thumbnail's pixels have channels more than 16 levels apart, and at most 15 % of the
    picture's pixels are neither dark nor bright. A grey photo of a drawing is taken as a sketch, and a shaded pencil
    drawing may be taken as a photo. A file that is no picture counts as a photo.
    """
    try:
        image = load_picture(file, MOST_PIXELS).convert("RGB")
    except (PictureError, OSError):
        return "photo"
    thumbnail = np.asarray(image.resize((SIDE, SIDE)), np.int16)
    coloured = (np.ptp(thumbnail, axis=2) > COLOURED).mean()
    grey = np.asarray(image.convert("L"))
    shaded = ((grey > DARKEST_SHADE) & (grey < BRIGHTEST_SHADE)).mean()
    return "sketch" if coloured <= MOST_COLOURED and shaded <= MOST_SHADED else "photo"
