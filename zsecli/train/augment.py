"""Random changes of prepared pictures that keep every part of the object recognisable, near its place."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

from zsecli.arrays import Pixels
from zsecli.images.geometry import similarity_matrix, warp_image
from zsecli.images.normalize_sketch import paper_colour
from zsecli.images.preprocess_rules import Modality

TURN = 10.0  # degrees
SCALE = 0.15  # share of the size
SHIFT = 0.06  # share of the side
STROKE, GREY = 0.25, 0.2  # probabilities: of thicker and of thinner strokes; of a photo without colour
PALER, COLOUR = 0.4, 0.3  # largest share of paper in the strokes; largest change of brightness, contrast, saturation


def augment_picture(
    picture: Pixels, modality: Modality, flip: bool, rng: np.random.Generator, strength: float
) -> Pixels:
    """A prepared picture (S, S, 3) uint8, changed at random -> (S, S, 3) uint8; read-only, the input stays as it is.

    Turned by up to 10 degrees, scaled by up to 15 % and shifted by up to 6 % of the side along each axis, all times
    `strength`, and filled with its border's colour. A point moves by at most 0.24 of its distance from the middle and
    0.085 of the side, times `strength`. At strength 1 a quarter of the sketches gets thicker strokes, a quarter
    thinner ones, and the ink becomes up to 40 % paper; a photo's brightness, contrast and saturation change by up to
    30 %, and a fifth of the photos loses its colours.

    Args:
        flip: mirror it, at any strength; the same for a sketch and its own photo.
        rng: source of all randomness; the same state makes the same picture.
        strength: 0 to 1; 0 changes nothing but by `flip`.
    """
    image = Image.fromarray(picture)
    if flip:
        image = ImageOps.mirror(image)
    if not strength:
        return np.asarray(image)
    if modality == "sketch" and (picture == picture[..., :1]).all():
        image = image.convert("L")  # three equal channels: a third of the work
    paper = find_paper_colour(image)
    image = _move_image(image, paper, rng, strength)
    image = vary_strokes(image, paper, rng, strength) if modality == "sketch" else vary_colours(image, rng, strength)
    return np.asarray(image.convert("RGB"))


def find_paper_colour(image: Image.Image) -> tuple[int, ...]:
    """The median of the image's border, one value per channel."""
    pixels = np.atleast_3d(np.asarray(image))
    return tuple(int(value) for value in paper_colour(pixels))


def _move_image(image: Image.Image, paper: tuple[int, ...], rng: np.random.Generator, strength: float) -> Image.Image:
    degrees = TURN * strength * rng.uniform(-1, 1)
    scale = 1 + SCALE * strength * rng.uniform(-1, 1)
    x, y = SHIFT * strength * rng.uniform(-1, 1, 2)
    matrix = similarity_matrix(image.size, degrees, scale, (x, y))
    return warp_image(image, matrix, paper)


def vary_strokes(image: Image.Image, paper: tuple[int, ...], rng: np.random.Generator, strength: float) -> Image.Image:
    """A sketch with thicker, thinner or paler strokes, as `augment_picture` says."""
    chance = rng.random()
    paper_share = PALER * strength * rng.random()
    is_light_paper = sum(paper) > 127 * len(paper)
    if chance < STROKE * strength:
        thicken = ImageFilter.MinFilter(3) if is_light_paper else ImageFilter.MaxFilter(3)
        image = image.filter(thicken)
    elif chance < 2 * STROKE * strength:
        if is_light_paper:
            image = _thin_strokes(image)
        else:
            inverted = ImageChops.invert(image)
            image = ImageChops.invert(_thin_strokes(inverted))
    blank = Image.new(image.mode, image.size, paper)
    return Image.blend(image, blank, paper_share)


def _thin_strokes(image: Image.Image) -> Image.Image:
    """Dark strokes lose a pixel on each side; strokes of up to two pixels, which would vanish, stay."""
    thin = image.filter(ImageFilter.MaxFilter(3))
    restored = thin.filter(ImageFilter.MinFilter(3))
    vanished = ImageChops.subtract(restored, image)
    return ImageChops.subtract(thin, vanished)


def vary_colours(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    """A photo in other colours, as `augment_picture` says."""
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        factor = 1 + COLOUR * strength * rng.uniform(-1, 1)
        image = change(image).enhance(factor)
    if rng.random() < GREY * strength:
        image = image.convert("L")
    return image
