"""Where a point goes: from the network's input to the picture it was made from, and with a picture that is moved.

Points are x, y in pixels, measured from the corner of the first pixel, whose middle is 0.5, 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Points = NDArray[np.float64]  # (N, 2)
Matrix = NDArray[np.float64]  # (2, 3), new = matrix[:, :2] @ old + matrix[:, 2]


@dataclass(frozen=True)
class Frame:
    """The part of a decoded picture that the network's input shows; it may reach beyond the picture.

    left, top: of the input's corner in the picture. across, down: pixels of the picture to one of the input.
    """

    left: float
    top: float
    across: float
    down: float

    def to_picture(self, points: Points) -> Points:
        """Points of the input in the decoded picture."""
        return points * (self.across, self.down) + (self.left, self.top)

    def to_input(self, points: Points) -> Points:
        """Points of the decoded picture in the input."""
        return (points - (self.left, self.top)) / (self.across, self.down)


def patch_centres(grid: tuple[int, int], patch: tuple[float, float]) -> Points:
    """(P, 2) the middles of the patches of a grid of rows and columns, row by row; `patch`: width and height."""
    columns, rows = np.meshgrid(np.arange(grid[1]), np.arange(grid[0]))
    return np.asarray((np.stack([columns, rows], 2).reshape(-1, 2) + 0.5) * patch, np.float64)


def similarity_matrix(
    size: tuple[int, int],
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> Matrix:
    """What mirrors, scales and turns (clockwise as seen) a picture of this size about its middle, and then shifts it.

    Args:
        shift: right and down, as shares of width and height.
    """
    angle, middle = math.radians(degrees), np.array(size) / 2
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turned = np.array([[cos, -sin], [sin, cos]]) * ((-1, 1) if mirror else (1, 1))
    return np.column_stack([turned, middle + np.multiply(shift, size) - turned @ middle])


def move_points(matrix: Matrix, points: Points) -> Points:
    """Where the points (N, 2) go."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp_image(image: Image.Image, matrix: Matrix, fill: tuple[int, ...]) -> Image.Image:
    """The picture moved on a canvas of its own size, which `fill` colours where nothing comes to lie."""
    back = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    return image.transform(
        image.size, Image.Transform.AFFINE, tuple(back.ravel()), Image.Resampling.BILINEAR, fillcolor=fill
    )
