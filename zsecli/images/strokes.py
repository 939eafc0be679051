"""Where a sketch has strokes."""

from __future__ import annotations

import numpy as np

from zsecli.arrays import Mask, Pixels
from zsecli.images.normalize_sketch import paper_colour

CONTRAST = 16  # grey levels by which ink must differ from the paper somewhere
COVERED = 0.01  # share of a patch


def find_stroke_patches(sketch: Pixels, grid: tuple[int, int], inside: tuple[int, int, int, int] | None = None) -> Mask:
    """Whether each of the rows x columns patches of a sketch (S, S, 3) uint8 holds strokes -> (P,) bool.

    Ink is what differs from the paper, the border's median, by more than half of what differs most, dark or bright.
    A patch holds strokes where ink covers 1 % of it. In a sketch without ink every patch does: nothing tells them
    apart.

    Args:
        inside: left, top, right, bottom of the picture in `sketch`, whose rest is padding; None: it fills it.
    """
    left, top, right, bottom = inside or (0, 0, sketch.shape[1], sketch.shape[0])
    picture = sketch[top:bottom, left:right]
    difference = np.zeros(sketch.shape[:2])  # from the paper
    difference[top:bottom, left:right] = np.abs(picture - paper_colour(picture)).max(2)
    if difference.max() < CONTRAST:
        return np.ones(grid[0] * grid[1], bool)
    ink = difference > difference.max() / 2
    row_of = np.arange(ink.shape[0]) * grid[0] // ink.shape[0]  # of the grid, for each row of pixels
    column_of = np.arange(ink.shape[1]) * grid[1] // ink.shape[1]
    cells = row_of[:, None], column_of[None]
    ink_pixels, pixels = np.zeros(grid), np.zeros(grid)  # in each patch
    np.add.at(ink_pixels, cells, ink)
    np.add.at(pixels, cells, 1)
    return (ink_pixels > COVERED * pixels).ravel()
