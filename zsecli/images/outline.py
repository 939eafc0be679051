"""The outline of a photo, as a drawing of what it shows."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from zsecli.arrays import Pixels

# Grey levels of a colour step that leaves no line, and of one that leaves a black line.
FAINT, CLEAR = 20, 80


def draw_outline(photo: Pixels) -> Image.Image:
    """Black lines on white where neighbouring colours of a photo (H, W, 3) uint8 differ (morphological gradient)."""
    image = Image.fromarray(photo).filter(ImageFilter.GaussianBlur(1))
    brightest, darkest = image.filter(ImageFilter.MaxFilter(3)), image.filter(ImageFilter.MinFilter(3))
    colour_steps = np.asarray(ImageChops.subtract(brightest, darkest), np.float32)
    darkness = (colour_steps.max(2) - FAINT) / (CLEAR - FAINT)
    return Image.fromarray(np.uint8(255 * (1 - darkness.clip(0, 1))))
