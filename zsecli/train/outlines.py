"""Pairs whose correspondence is known: a photo, moved at random, and its own outline as the sketch."""

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
from zsecli.train.augment import colours, ink, paper_of
from zsecli.train.freehand import find_thing, put_into, roughen

TURN, ANY_TURN = 45.0, 0.2  # degrees; share of photos turned by any angle
GENTLE = 15.0  # degrees, for photos that are to be recognised too, and never by any angle
SCALE, SHIFT = (0.6, 1.4), 0.15  # of the photo's size; share of its side
THING_SCALE, THING_SHIFT = (0.4, 1.0), 0.25  # the same of a thing that is put into another photo


class Outlined(NamedTuple):
    """A photo and its outline as the network wants them, (S, S, 3) uint8 each.

    places: (P, 2) float32, where the middle of each patch of the outline lies in the photo, x and y in patches from
    the corner; NaN for a patch without strokes, or one whose place lies outside.
    """

    sketch: Pixels
    photo: Pixels
    places: NDArray[np.float32]


def outlined(
    photo: Pixels,
    preprocess: Preprocess,
    grid: tuple[int, int],
    rng: np.random.Generator,
    strength: float,
    most: float | None = None,
    freehand: float = 0.0,
    background: Pixels | None = None,
) -> Outlined:
    """A prepared photo (S, S, 3) uint8, turned, scaled, shifted and often mirrored, and the outline of what it was.

    Strokes and colours change as in `zsecli.train.augment` at this `strength`. Most photos turn by up to 45 degrees, a
    fifth by any angle; the scale is 0.6 to 1.4, the shift up to 15 % of the side along each axis.

    Args:
        grid: rows and columns of the P patches. rng: all that is random; the same state makes the same pair.
        most: degrees that any photo turns by; None: as said above. freehand: strength of `zsecli.train.freehand`.
        background: another photo, which what this one shows on white is put into, smaller and elsewhere; it is used
            where this one does show a thing on white.
    """
    size = (photo.shape[1], photo.shape[0])
    turn = most
    if turn is None:
        turn = 180.0 if rng.random() < ANY_TURN else TURN
    thing = None if background is None else find_thing(photo)
    scale, shift = (SCALE, SHIFT) if thing is None else (THING_SCALE, THING_SHIFT)
    matrix = similarity_matrix(
        size,
        turn * rng.uniform(-1, 1),
        rng.uniform(*scale),
        (shift * rng.uniform(-1, 1), shift * rng.uniform(-1, 1)),
        bool(rng.random() < 0.5),
    )
    drawn, frame = frame_input(draw_outline(photo), "sketch", preprocess)
    patch = preprocess.size / grid[1], preprocess.size / grid[0]
    places = move_points(matrix, frame.to_picture(patch_centres(grid, patch))) / patch
    shown = find_stroke_patches(drawn, grid) & ((places >= 0) & (places < (grid[1], grid[0]))).all(1)
    image, lines = Image.fromarray(photo), Image.fromarray(drawn).convert("L")
    if freehand:
        lines = roughen(lines, paper_of(lines), rng, freehand)
    moved_image = warp_image(image, matrix, paper_of(image))
    if thing is not None and background is not None:
        mask = warp_image(Image.fromarray(np.uint8(255 * thing)), matrix, (0,))
        moved_image = Image.fromarray(put_into(np.asarray(moved_image), np.asarray(mask) > 127, background))
    changed = ink(lines, paper_of(lines), rng, strength), colours(moved_image, rng, strength)
    sketch, moved = (np.asarray(one.convert("RGB")) for one in changed)
    return Outlined(sketch, moved, np.where(shown[:, None], places, np.nan).astype(np.float32))
