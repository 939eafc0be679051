"""Changes that make clean drawings look free-hand, and photos of single things look like scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsecli.arrays import Pixels

CELLS = 6  # of the net that lines are bent by, along each side
BEND, BENT = 0.015, 0.6  # standard deviation of a knot's shift, in sides; share of the sketches that are bent
GAPS, GAPPED = 0.25, 0.5  # largest share of a sketch that is wiped out; share of the sketches with gaps
SPOTS = 20  # of the noise that says where, along each side
PLAIN = 248  # grey level from which a photo's paper is white
THING = (0.05, 0.7)  # share of the picture that a thing on white takes, to be put elsewhere


def roughen(sketch: Image.Image, paper: tuple[int, ...], rng: np.random.Generator, strength: float) -> Image.Image:
    """A sketch with bent lines and with gaps; at `strength` 0 as it is.

    Lines move by a few hundredths of a side.
    """
    if rng.random() < BENT * strength:
        sketch = _bend(sketch, rng, BEND * strength)
    if rng.random() < GAPPED * strength:
        noise = Image.fromarray(rng.integers(0, 256, (SPOTS, SPOTS), np.uint8))
        gone = np.asarray(noise.resize(sketch.size, Image.Resampling.BILINEAR)) < 255 * GAPS * strength * rng.random()
        sketch = sketch.copy()
        sketch.paste(Image.new(sketch.mode, sketch.size, paper), mask=Image.fromarray(gone))
    return sketch


def _bend(image: Image.Image, rng: np.random.Generator, amount: float) -> Image.Image:
    """The picture drawn on a net whose inner knots are shifted at random; its border stays."""
    width, height = image.size
    y, x = np.meshgrid(np.linspace(0, height, CELLS + 1), np.linspace(0, width, CELLS + 1), indexing="ij")
    shift = rng.normal(0, amount, (2, CELLS + 1, CELLS + 1)) * np.array([width, height])[:, None, None]
    shift[:, [0, -1]] = shift[:, :, [0, -1]] = 0
    knots = np.stack([x, y], -1)
    moved = knots + shift.transpose(1, 2, 0)
    net = []
    for row in range(CELLS):
        for column in range(CELLS):
            left, top = knots[row, column].round().astype(int)
            right, bottom = knots[row + 1, column + 1].round().astype(int)
            corners = (moved[row, column], moved[row + 1, column], moved[row + 1, column + 1], moved[row, column + 1])
            net.append(((int(left), int(top), int(right), int(bottom)), tuple(np.concatenate(corners).tolist())))
    return image.transform(image.size, Image.Transform.MESH, net, Image.Resampling.BILINEAR)


def find_thing(photo: Pixels) -> NDArray[np.bool_] | None:
    """The mask (H, W) bool of a thing on white paper in a photo (H, W, 3) uint8; None where that is not what it shows.

    Paper is what is white and seen from a side of the picture along a row or a column.
    """
    white: NDArray[np.bool_] = np.all(photo >= PLAIN, axis=-1)
    paper = np.zeros_like(white)
    for turned, result in ((white, paper), (white.T, paper.T)):
        result |= np.logical_and.accumulate(turned)
        result |= np.logical_and.accumulate(turned[::-1])[::-1]
    thing = ~paper
    return thing if THING[0] < thing.mean() < THING[1] else None


def put_into(photo: Pixels, thing: NDArray[np.bool_], background: Pixels) -> Pixels:
    """The thing of a photo, by its mask, in front of another photo of the same size."""
    return np.where(thing[..., None], photo, background)
