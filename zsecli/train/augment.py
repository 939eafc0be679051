"""Random changes of prepared pictures that leave every part of the object where it can be found again."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from zsecli.arrays import Pixels
from zsecli.images.geometry import similarity_matrix, warp_image
from zsecli.images.normalize_sketch import paper_colour as border
from zsecli.images.preprocess_rules import Modality

TURN, SCALE, SHIFT = 10.0, 0.15, 0.06  # degrees, share of the size, share of the side
STROKE, GREY = 0.25, 0.2  # probabilities: of thicker and of thinner strokes; of a photo without colour
INK, COLOUR = 0.4, 0.3  # largest share of the paper in the ink; largest change of brightness, contrast, saturation


def augment(picture: Pixels, role: Modality, flip: bool, rng: np.random.Generator, strength: float) -> Pixels:
    """A prepared picture (S, S, 3) uint8, changed at random -> (S, S, 3) uint8; read-only, the input stays as it is.

    Turned by up to 10 degrees, scaled by up to 15 % and shifted by up to 6 % of the side along each axis, all times
    `strength`, and filled with its border's colour. A point moves by at most 0.24 of its distance from the middle and
    0.085 of the side, times `strength`. At strength 1 a quarter of the sketches gets thicker strokes, a quarter
    thinner ones, and the ink becomes up to 40 % paper; a photo's brightness, contrast and saturation change by up to
    30 %, and a fifth of the photos loses its colours.

    Args:
        flip: mirror it, at any strength; the same for a sketch and its own photo, so that left stays left.
        rng: all that is random; the same state makes the same picture.
        strength: 0 to 1; 0 changes nothing but by `flip`.
    """
    image = Image.fromarray(picture)
    if flip:
        image = ImageOps.mirror(image)
    if not strength:
        return np.asarray(image)
    if role == "sketch" and (picture == picture[..., :1]).all():
        image = image.convert("L")  # three equal channels: a third of the work
    paper = paper_of(image)
    image = _move(image, paper, rng, strength)
    image = ink(image, paper, rng, strength) if role == "sketch" else colours(image, rng, strength)
    return np.asarray(image.convert("RGB"))


def paper_of(image: Image.Image) -> tuple[int, ...]:
    """The border's median, a value a channel."""
    return tuple(int(value) for value in border(np.atleast_3d(np.asarray(image))))


def _move(image: Image.Image, paper: tuple[int, ...], rng: np.random.Generator, strength: float) -> Image.Image:
    degrees = TURN * strength * rng.uniform(-1, 1)
    scale = 1 + SCALE * strength * rng.uniform(-1, 1)
    right, down = SHIFT * strength * rng.uniform(-1, 1, 2)
    return warp_image(image, similarity_matrix(image.size, degrees, scale, (right, down)), paper)


def ink(image: Image.Image, paper: tuple[int, ...], rng: np.random.Generator, strength: float) -> Image.Image:
    """A sketch with thicker, thinner or paler strokes, as `augment` says."""
    chance, share = rng.random(), INK * strength * rng.random()
    light = sum(paper) > 127 * len(paper)
    if chance < STROKE * strength:
        image = image.filter(ImageFilter.MinFilter(3) if light else ImageFilter.MaxFilter(3))
    elif chance < 2 * STROKE * strength:
        image = _thinner(image) if light else ImageChops.invert(_thinner(ImageChops.invert(image)))
    return Image.blend(image, Image.new(image.mode, image.size, paper), share)


def _thinner(image: Image.Image) -> Image.Image:
    """Dark strokes lose a pixel on each side; those of up to two pixels, which would vanish, stay."""
    thin = image.filter(ImageFilter.MaxFilter(3))
    vanished = ImageChops.subtract(thin.filter(ImageFilter.MinFilter(3)), image)
    return ImageChops.subtract(thin, vanished)


def colours(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """A photo in other colours, as `augment` says."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = change(image).enhance(1 + COLOUR * strength * rng.uniform(-1, 1))
    return image.convert("L") if rng.random() < GREY * strength else image
