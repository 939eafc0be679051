"""Random changes of prepared pictures that leave every part of the object where it can be found again."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from zsecli.data.pictures import Pixels
from zsecli.data.preprocess import Role

TURN, SCALE, SHIFT = 10.0, 0.15, 0.06  # degrees, share of the size, share of the side
STROKE, GREY = 0.25, 0.2  # probabilities: thicker, thinner; without colour
COLOUR = 0.3


def augment(picture: Pixels, role: Role, flip: bool, rng: np.random.Generator, strength: float) -> Pixels:
    """A picture (S, S, 3) uint8 changed at random; `strength` 0 leaves it as it is, 1 goes to the full bounds.

    Turned by up to 10 degrees, scaled by up to 15 %, shifted by up to 6 % of its side, and filled with its border's
    colour; a sketch's strokes get thicker or thinner (a quarter each) and its ink may get paler; a photo's brightness,
    contrast and saturation change by up to 30 %, and one in five loses its colours.

    Args:
        flip: mirror it; the same for a sketch and its photo, so that left stays left.
    """
    image = Image.fromarray(picture)
    if flip:
        image = ImageOps.mirror(image)
    if strength:
        image = _move(image, rng, strength)
        image = (_ink if role == "sketch" else _colours)(image, rng, strength)
    return np.asarray(image)


def _move(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    side = image.width
    angle = math.radians(TURN * strength * rng.uniform(-1, 1))
    scale = 1 + SCALE * strength * rng.uniform(-1, 1)
    right, down = SHIFT * strength * side * rng.uniform(-1, 1, 2)
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = side / 2 + right, side / 2 + down  # where the centre goes
    back = (cos, sin, side / 2 - cos * x - sin * y, -sin, cos, side / 2 + sin * x - cos * y)
    pixels = np.asarray(image)
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    fill = tuple(int(v) for v in np.median(border, axis=0))
    return image.transform(image.size, Image.Transform.AFFINE, back, Image.Resampling.BILINEAR, fillcolor=fill)


def _ink(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    chance, paler = rng.random(), rng.random()
    if chance < STROKE * strength:
        image = image.filter(ImageFilter.MinFilter(3))
    elif chance < 2 * STROKE * strength:
        thin = image.filter(ImageFilter.MaxFilter(3))
        image = Image.blend(image, thin, 0.5)  # a line of one pixel would vanish
    paper = Image.new("RGB", image.size, image.getpixel((0, 0)))
    return Image.blend(image, paper, 0.4 * strength * paler)


def _colours(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(1 + COLOUR * strength * rng.uniform(-1, 1))
    return ImageOps.grayscale(image).convert("RGB") if rng.random() < GREY * strength else image
