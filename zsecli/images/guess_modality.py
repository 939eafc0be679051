"""Sketch or photo? A look at a picture where nobody says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from zsecli.images.decode import PictureError
from zsecli.images.loader import load_picture

MOST = 2**22  # pixels that are looked at
SIDE = 64  # of the thumbnail that is looked at
COLOURED, FEW_COLOURED = 16, 0.01
SHADES, FEW_SHADES = (50, 205), 0.15


def guess_modality(file: Path) -> Literal["sketch", "photo"]:
    """Dark strokes on paper without colour are a sketch, all else is a photo.

    In a thumbnail, at most 1 % of the places have channels more than 16 apart; in the picture, at most
    15 % are neither dark nor bright. A grey photo of a drawing is taken as a sketch, a shaded pencil drawing
    may be taken as a photo: who knows better says so. A file that is no picture counts as a photo.
    Of a picture of more than 4 megapixels a reduced copy is looked at.
    """
    try:
        image = load_picture(file, MOST).convert("RGB")
    except (PictureError, OSError):
        return "photo"
    pixels = np.asarray(image.resize((SIDE, SIDE)), np.int16)
    coloured = (np.ptp(pixels, axis=2) > COLOURED).mean()
    grey = np.asarray(image.convert("L"))
    shaded = ((grey > SHADES[0]) & (grey < SHADES[1])).mean()
    return "sketch" if coloured <= FEW_COLOURED and shaded <= FEW_SHADES else "photo"
