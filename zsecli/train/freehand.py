"""Changes that make clean drawings look free-hand, and photos of single objects look like scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsecli.arrays import Pixels

CELLS = 6  # of the grid that bends lines, along each side
BEND = 0.015  # standard deviation of a knot's shift, in sides
BENT_SHARE = 0.6  # of the sketches
GAPS = 0.25  # largest share of a sketch that is wiped out
GAPPED_SHARE = 0.5  # of the sketches
SPOTS = 20  # of the noise that places gaps, along each side
WHITE = 248  # lowest grey level of a photo's white paper
OBJECT_SHARE = (0.05, 0.7)  # smallest and largest share of the picture of an object on white that is pasted


def roughen_sketch(
    sketch: Image.Image, paper: tuple[int, ...], rng: np.random.Generator, strength: float
) -> Image.Image:
    """A sketch with bent lines and with gaps; at `strength` 0 as it is.

    Lines move by a few hundredths of a side.
    """
    if rng.random() < BENT_SHARE * strength:
        sketch = _bend_lines(sketch, rng, BEND * strength)
    if rng.random() < GAPPED_SHARE * strength:
        sketch = _wipe_gaps(sketch, paper, rng, strength)
    return sketch


def _wipe_gaps(sketch: Image.Image, paper: tuple[int, ...], rng: np.random.Generator, strength: float) -> Image.Image:
    """The sketch with some smooth spots wiped out."""
    noise = Image.fromarray(rng.integers(0, 256, (SPOTS, SPOTS), np.uint8))
    smooth_noise = np.asarray(noise.resize(sketch.size, Image.Resampling.BILINEAR))
    is_gap = smooth_noise < 255 * GAPS * strength * rng.random()
    sketch = sketch.copy()
    sketch.paste(Image.new(sketch.mode, sketch.size, paper), mask=Image.fromarray(is_gap))
    return sketch


def _bend_lines(image: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    """The picture warped by a grid whose inner knots are shifted at random; its border stays."""
    width, height = image.size
    rows = np.linspace(0, height, CELLS + 1)
    columns = np.linspace(0, width, CELLS + 1)
    y, x = np.meshgrid(rows, columns, indexing="ij")
    sides = np.array([width, height])
    shift = rng.normal(0, amount, (2, CELLS + 1, CELLS + 1)) * sides[:, None, None]
    shift[:, [0, -1]] = 0
    shift[:, :, [0, -1]] = 0
    knots = np.stack([x, y], -1)
    moved = knots + shift.transpose(1, 2, 0)
    mesh = []
    for row in range(CELLS):
        for column in range(CELLS):
            first = knots[row, column].round().astype(int)
            last = knots[row + 1, column + 1].round().astype(int)
            box = tuple(np.concatenate([first, last]).tolist())
            corners = [
                moved[row, column],
                moved[row + 1, column],
                moved[row + 1, column + 1],
                moved[row, column + 1],
            ]
            quadrilateral = tuple(np.concatenate(corners).tolist())
            mesh.append((box, quadrilateral))
    return image.transform(image.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)


def find_object(photo: Pixels) -> NDArray[np.bool_] | None:
    """The mask (H, W) bool of an object on white paper in a photo (H, W, 3) uint8; None where it shows something else.

    Paper is every white pixel with only white pixels between it and a side of the picture, along its row or column.
    """
    is_white: NDArray[np.bool_] = np.all(photo >= WHITE, axis=-1)
    is_paper = np.zeros_like(is_white)
    for white, paper in ((is_white, is_paper), (is_white.T, is_paper.T)):
        paper |= np.logical_and.accumulate(white)
        paper |= np.logical_and.accumulate(white[::-1])[::-1]
    mask = ~is_paper
    smallest, largest = OBJECT_SHARE
    return mask if smallest < mask.mean() < largest else None


def paste_object(photo: Pixels, mask: NDArray[np.bool_], background: Pixels) -> Pixels:
    """The object of a photo, given by its mask, in front of another photo of the same size."""
    return np.where(mask[..., None], photo, background)
