"""Where a sketch has strokes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsecli.images.decode import Pixels
from zsecli.images.normalize_sketch import paper_colour

CONTRAST = 16  # grey levels by which ink must differ from the paper somewhere
COVERED = 0.01  # share of a patch


def find_stroke_patches(
    sketch: Pixels, grid: tuple[int, int], inside: tuple[int, int, int, int] | None = None
) -> NDArray[np.bool_]:
    """Whether each of the rows x columns patches of a sketch (S, S, 3) uint8 holds strokes -> (P,) bool.

    Ink is what differs from the paper, the border's median, by more than half of what differs most, dark or bright.
    A patch holds strokes where ink covers 1 % of it. In a sketch without ink every patch does: nothing tells them
    apart.

    Args:
        inside: left, top, right, bottom of the picture in `sketch`, whose rest is padding; None: it fills it.
    """
    left, top, right, bottom = inside or (0, 0, sketch.shape[1], sketch.shape[0])
    shown = sketch[top:bottom, left:right]
    off = np.zeros(sketch.shape[:2])
    off[top:bottom, left:right] = np.abs(shown - paper_colour(shown)).max(2)
    if off.max() < CONTRAST:
        return np.ones(grid[0] * grid[1], bool)
    ink = off > off.max() / 2
    rows, columns = (np.arange(side) * count // side for side, count in zip(ink.shape, grid, strict=True))
    covered, size = np.zeros(grid), np.zeros(grid)
    np.add.at(covered, (rows[:, None], columns[None]), ink)
    np.add.at(size, (rows[:, None], columns[None]), 1)
    return (covered > COVERED * size).ravel()
