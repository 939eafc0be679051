"""A picture changed and reduced tile by tile, so that no copy of it is made at its full size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from PIL import Image

TILE = 2**20  # pixels
Factors = tuple[int, int]  # by which a picture is reduced across and down
WHOLE: Factors = (1, 1)


def iterate_tiles(image: Image.Image, factors: Factors = WHOLE) -> Iterator[tuple[int, int, Image.Image]]:
    """Left, top and copy of the parts of a picture; parts begin at multiples of the factors."""
    across, down = factors
    width = min(image.width, max(1, TILE // down // across) * across)
    height = min(image.height, max(1, TILE // width // down) * down)
    for top in range(0, image.height, height):
        for left in range(0, image.width, width):
            box = (left, top, min(image.width, left + width), min(image.height, top + height))
            yield left, top, image.crop(box)


def map_tiles(
    image: Image.Image, change: Callable[[Image.Image], Image.Image], factors: Factors = WHOLE
) -> Image.Image:
    """`change` of the whole picture, which must change each pixel by itself, reduced by the factors (mean of a box)."""
    across, down = factors
    size = (-(-image.width // across), -(-image.height // down))
    whole: Image.Image | None = None
    for left, top, tile in iterate_tiles(image, factors):
        changed = change(tile)
        if factors != WHOLE:
            changed = changed.reduce(factors)
        if changed.size == size:
            return changed
        if whole is None:
            whole = Image.new(changed.mode, size)
        whole.paste(changed, (left // across, top // down))
    assert whole is not None, "a picture has at least one pixel"
    return whole


def find_factors(size: tuple[int, int], most: int) -> Factors:
    """The least factors that leave at most `most` pixels: the same for both sides, unless one has too few pixels."""
    width, height = size
    factor = math.ceil(math.sqrt(width * height / most))
    if factor > width:
        return width, math.ceil(height / most)
    if factor > height:
        return math.ceil(width / most), height
    while -(-width // factor) * -(-height // factor) > most:
        factor += 1
    return factor, factor
