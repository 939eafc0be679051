"""Where points go: from the network's input to the picture it was made from, and with a picture that is warped.

Points are x, y in pixels, measured from the corner of the first pixel, whose centre is 0.5, 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from zsecli.arrays import Floats64

Points = Floats64  # (N, 2)
Matrix = Floats64  # (2, 3), new = matrix[:, :2] @ old + matrix[:, 2]


@dataclass(frozen=True)
class Frame:
    """The part of a decoded picture that the network's input shows; it may reach beyond the picture."""

    left: float  # of the input's corner in the picture
    top: float
    across: float  # pixels of the picture to one of the input, horizontally
    down: float  # vertically

    def to_picture(self, points: Points) -> Points:
        """Points of the input in the decoded picture."""
        return points * (self.across, self.down) + (self.left, self.top)

    def to_input(self, points: Points) -> Points:
        """Points of the decoded picture in the input."""
        return (points - (self.left, self.top)) / (self.across, self.down)


def patch_centres(grid: tuple[int, int], patch: tuple[float, float]) -> Points:
    """(P, 2) the centres of the patches of a grid of rows and columns, row by row; `patch`: width and height."""
    columns, rows = np.meshgrid(np.arange(grid[1]), np.arange(grid[0]))
    cells = np.stack([columns, rows], 2).reshape(-1, 2)
    return np.asarray((cells + 0.5) * patch, np.float64)


def similarity_matrix(
    size: tuple[int, int],
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    mirror: bool = False,
) -> Matrix:
    """The matrix that mirrors, scales and turns (clockwise) a picture of this size about its centre, then shifts it.

    Args:
        shift: right and down, as shares of width and height.
    """
    angle = math.radians(degrees)
    centre = np.array(size) / 2
    cos = scale * math.cos(angle)
    sin = scale * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]]) * ((-1, 1) if mirror else (1, 1))
    offset = centre + np.multiply(shift, size) - linear @ centre
    return np.column_stack([linear, offset])


def move_points(matrix: Matrix, points: Points) -> Points:
    """Where the points (N, 2) go."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp_image(image: Image.Image, matrix: Matrix, fill: tuple[int, ...]) -> Image.Image:
    """The picture warped on a canvas of its own size; `fill` colours what it does not cover."""
    inverse = np.linalg.inv(np.vstack([matrix, (0, 0, 1)]))[:2]
    return image.transform(
        image.size, Image.Transform.AFFINE, tuple(inverse.ravel()), Image.Resampling.BILINEAR, fillcolor=fill
    )
