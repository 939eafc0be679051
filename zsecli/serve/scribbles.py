"""Drawings of nothing: strokes at random, by which is known what a score says when there is nothing to find."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

SIDE, PEN = 512, 15  # pixels of the paper and of the pen, as on the page
STEPS = 60  # of a stroke


def draw_scribble(number: int) -> Image.Image:
    """Scribble `number`: one to eight strokes that bend and wander at random, black on white, mode L.

    The same number is always the same drawing.
    """
    rng = np.random.default_rng([20_08, number])
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    wild = rng.uniform(0.02, 0.6)  # radians by which the direction changes in a step
    for _ in range(rng.integers(1, 9)):
        points = _stroke(rng, wild)
        pen.line(points, fill=0, width=PEN, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - PEN / 2, y - PEN / 2, x + PEN / 2, y + PEN / 2), fill=0)
    return image


def _stroke(rng: np.random.Generator, wild: float) -> list[tuple[float, float]]:
    """Points of a stroke that stays on the paper: it is turned back at the border."""
    length = rng.uniform(0.2, 2.0) * SIDE
    turn = np.cumsum(rng.normal(0, wild, STEPS)) + rng.normal(0, 0.05) * np.arange(STEPS) + rng.uniform(0, 2 * np.pi)
    steps = np.stack([np.cos(turn), np.sin(turn)], 1) * length / STEPS
    path = rng.uniform(0.15, 0.85, 2) * SIDE + np.cumsum(steps, 0)
    low, high = 0.05 * SIDE, 0.95 * SIDE
    folded = (path - low) % (2 * (high - low))  # a mirror at each border
    folded = np.where(folded > high - low, 2 * (high - low) - folded, folded) + low
    return [(float(x), float(y)) for x, y in folded]
