"""Drawings of nothing: random strokes, which show the scores to expect when there is nothing to find."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

SIDE, PEN_WIDTH = 512, 15  # pixels, as on the page
STEPS = 60  # of a stroke
MARGIN = 0.05  # share of the side that strokes keep from the border


def draw_scribble(number: int) -> Image.Image:
    """Scribble `number`: one to eight strokes that bend and wander at random, black on white, mode L.

    The same number is always the same drawing.
    """
    rng = np.random.default_rng([20_08, number])
    image = Image.new("L", (SIDE, SIDE), 255)
    pen = ImageDraw.Draw(image)
    spread = rng.uniform(0.02, 0.6)  # standard deviation of the change of direction in a step, in radians
    radius = PEN_WIDTH / 2
    for _ in range(rng.integers(1, 9)):
        points = _draw_stroke(rng, spread)
        pen.line(points, fill=0, width=PEN_WIDTH, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=0)
    return image


def _draw_stroke(rng: np.random.Generator, spread: float) -> list[tuple[float, float]]:
    """Points of a stroke that stays on the paper: it is mirrored at the border."""
    length = rng.uniform(0.2, 2.0) * SIDE
    wandering = np.cumsum(rng.normal(0, spread, STEPS))
    bend = rng.normal(0, 0.05) * np.arange(STEPS)
    direction = wandering + bend + rng.uniform(0, 2 * np.pi)
    steps = np.stack([np.cos(direction), np.sin(direction)], 1) * length / STEPS
    start = rng.uniform(0.15, 0.85, 2) * SIDE
    path = start + np.cumsum(steps, 0)
    low, high = MARGIN * SIDE, (1 - MARGIN) * SIDE
    extent = high - low
    folded = (path - low) % (2 * extent)
    mirrored = np.where(folded > extent, 2 * extent - folded, folded) + low
    return [(float(x), float(y)) for x, y in mirrored]
