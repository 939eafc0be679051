"""Pairs with known correspondence: a photo, warped at random, and its own outline as the sketch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsecli.arrays import Pixels
from zsecli.images.geometry import move_points, patch_centres, similarity_matrix, warp_image
from zsecli.images.outline import draw_outline
from zsecli.images.preprocess import frame_input
from zsecli.images.preprocess_rules import Preprocess
from zsecli.images.strokes import find_stroke_patches
from zsecli.train.augment import find_paper_colour, vary_colours, vary_strokes
from zsecli.train.freehand import find_object, paste_object, roughen_sketch

TURN, ANY_TURN = 45.0, 0.2  # degrees; share of photos turned by any angle
GENTLE_TURN = 15.0  # degrees, for photos that are to be recognised too, and never by any angle
SCALE, SHIFT = (0.6, 1.4), 0.15  # of the photo's size; share of its side
OBJECT_SCALE, OBJECT_SHIFT = (0.4, 1.0), 0.25  # the same of an object that is pasted into another photo


class OutlinePair(NamedTuple):
    """An outline and its photo as the network wants them."""

    sketch: Pixels
    """(S, S, 3) uint8, the outline."""
    photo: Pixels
    """(S, S, 3) uint8."""
    places: NDArray[np.float32]
    """(P, 2), where the middle of each patch of the outline is in the photo, x and y in patches from the corner; NaN
    for a patch without strokes, or one whose place is outside."""


def make_outline_pair(
    photo: Pixels,
    preprocess: Preprocess,
    grid: tuple[int, int],
    rng: np.random.Generator,
    strength: float,
    *,
    max_turn: float | None = None,
    freehand: float = 0.0,
    background: Pixels | None = None,
) -> OutlinePair:
    """Turn, scale, shift and often mirror a prepared photo (S, S, 3) uint8, and draw the outline of what it was.

    Strokes and colours change as in `zsecli.train.augment` at this `strength`. Most photos turn by up to 45 degrees, a
    fifth by any angle; the scale is 0.6 to 1.4, the shift up to 15 % of the side along each axis.

    Args:
        grid: rows and columns of the P patches.
        rng: source of all randomness; the same state makes the same pair.
        max_turn: largest turn of any photo, in degrees; None: as above.
        freehand: strength of `zsecli.train.freehand`.
        background: another photo. Where `photo` shows an object on white, the object is pasted into this one, smaller
            and elsewhere.
    """
    if max_turn is None:
        max_turn = 180.0 if rng.random() < ANY_TURN else TURN
    mask = None if background is None else find_object(photo)
    matrix = _draw_warp(photo, rng, max_turn, is_pasted=mask is not None)
    drawn, frame = frame_input(draw_outline(photo), "sketch", preprocess)
    rows, columns = grid
    patch = preprocess.size / columns, preprocess.size / rows
    places = move_points(matrix, frame.to_picture(patch_centres(grid, patch))) / patch
    is_inside = ((places >= 0) & (places < (columns, rows))).all(1)
    has_place = find_stroke_patches(drawn, grid) & is_inside
    image = Image.fromarray(photo)
    lines = Image.fromarray(drawn).convert("L")
    if freehand:
        lines = roughen_sketch(lines, find_paper_colour(lines), rng, freehand)
    warped = warp_image(image, matrix, find_paper_colour(image))
    if mask is not None and background is not None:
        warped_mask = warp_image(Image.fromarray(np.uint8(255 * mask)), matrix, (0,))
        warped = Image.fromarray(paste_object(np.asarray(warped), np.asarray(warped_mask) > 127, background))
    lines = vary_strokes(lines, find_paper_colour(lines), rng, strength)
    warped = vary_colours(warped, rng, strength)
    return OutlinePair(
        sketch=np.asarray(lines.convert("RGB")),
        photo=np.asarray(warped.convert("RGB")),
        places=np.where(has_place[:, None], places, np.nan).astype(np.float32),
    )


def _draw_warp(photo: Pixels, rng: np.random.Generator, max_turn: float, is_pasted: bool) -> NDArray[np.float64]:
    """The matrix of a random turn, scale, shift and reflection."""
    scale_range, max_shift = (OBJECT_SCALE, OBJECT_SHIFT) if is_pasted else (SCALE, SHIFT)
    height, width = photo.shape[:2]
    degrees = max_turn * rng.uniform(-1, 1)
    scale = rng.uniform(*scale_range)
    shift = max_shift * rng.uniform(-1, 1), max_shift * rng.uniform(-1, 1)
    mirror = bool(rng.random() < 0.5)
    return similarity_matrix((width, height), degrees, scale, shift, mirror)
