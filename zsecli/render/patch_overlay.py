"""Pictures with values painted on their patches. P patches lie on the grid of a `Side`."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from zsecli.arrays import Bytes, Floats, Floats64
from zsecli.explain.pair import Side
from zsecli.render.canvas import tint
from zsecli.render.palette import BLUE, DARK_BLUE, FAINT, HEADS, ORANGE, WHITE

MIN_SIDE, MAX_SIDE = 490, 900  # pixels of a picture's long side in a figure
MATRIX_CELL = 10  # pixels of an entry of a matrix
MIN_ATTENTION = 0.4  # of its strongest patch, below which a head is not shown on a patch


def resize_for_figure(image: Image.Image) -> Image.Image:
    """The picture, small enough for a figure, and large enough to paint patches on."""
    long_side = max(image.size)
    scale = min(max(1.0, MIN_SIDE / long_side), MAX_SIDE / long_side)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    if size == image.size:
        return image.copy()
    return image.resize(size, Image.Resampling.LANCZOS)


def draw_strongest_heads(side: Side) -> Image.Image:
    """Each patch in the colour of the head whose [Ret] attends to it most, relative to the head's strongest patch."""
    relative = side.attention / side.attention.max(1, keepdims=True).clip(1e-12)
    strongest = relative.argmax(0)
    picture = resize_for_figure(side.image)
    for head in range(len(relative)):
        is_shown = (strongest == head) & (relative[head] > MIN_ATTENTION)
        values = np.where(is_shown, relative[head], 0)
        picture = tint(picture, _paint_patches(side, values, 0.75), HEADS[head % len(HEADS)])
    return _cross_out_dropped(side, picture)


def draw_mean_attention(side: Side) -> Image.Image:
    """The mean attention of [Ret] over the heads, above its median."""
    mean = side.attention.mean(0)
    median = float(np.median(mean))
    values = (mean - median) / max(float(mean.max()) - median, 1e-12)
    picture = tint(resize_for_figure(side.image), _paint_patches(side, values, 0.85), BLUE)
    return _cross_out_dropped(side, picture)


def draw_signed_values(side: Side, values: Floats, limit: float) -> Image.Image:
    """Positive values (P,) in blue and negative ones in orange; at `limit` and beyond they are opaque."""
    values = values / limit
    picture = tint(resize_for_figure(side.image), _paint_patches(side, values, 0.8), BLUE)
    picture = tint(picture, _paint_patches(side, -values, 0.8), ORANGE)
    return _cross_out_dropped(side, picture)


def colour_limit(values: Floats) -> float:
    """A limit for `draw_signed_values` at which a few extreme patches do not make the others pale."""
    return max(float(np.quantile(abs(values), 0.98)), 1e-12)


def draw_matrix(values: Floats) -> Image.Image:
    """A matrix as a picture, the smallest value white and the largest dark."""
    low, high = float(values.min()), float(values.max())
    opacity = np.rint(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
    image = tint(Image.new("RGB", opacity.shape[::-1], WHITE), opacity, DARK_BLUE)
    return image.resize((image.width * MATRIX_CELL, image.height * MATRIX_CELL), Image.Resampling.NEAREST)


def _paint_patches(side: Side, values: Floats, max_opacity: float) -> Bytes:
    """Opacity (H, W) uint8 over the resized picture: values (P,) from 0 to 1, of which 1 is `max_opacity` of 255."""
    image = resize_for_figure(side.image)
    scale = _patch_scale(side, image)
    opacity = Image.new("L", image.size)
    pen = ImageDraw.Draw(opacity)
    for patch, value in enumerate(values):
        left, top, right, bottom = scale * side.patch_box(patch)
        if right - left >= 1 and bottom - top >= 1:
            level = round(255 * max_opacity * float(np.clip(value, 0, 1)))
            pen.rectangle((left, top, right - 1, bottom - 1), level)
    return np.asarray(opacity)


def _cross_out_dropped(side: Side, picture: Image.Image) -> Image.Image:
    """The picture with a cross on each patch that token selection dropped."""
    scale = _patch_scale(side, picture)
    pen = ImageDraw.Draw(picture)
    for patch in np.flatnonzero(~side.kept).tolist():
        left, top, right, bottom = scale * side.patch_box(patch)
        pen.line((left, top, right, bottom), FAINT)
        pen.line((left, bottom, right, top), FAINT)
    return picture


def _patch_scale(side: Side, picture: Image.Image) -> Floats64:
    """(4,) factors from `Side.box` to the pixels of a resized picture."""
    return np.tile(np.divide(picture.size, side.image.size), 2)
