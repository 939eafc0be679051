"""Pictures changed and reduced tile by tile, so that no copy is made at full size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from PIL import Image

TILE_PIXELS = 2**20
Factors = tuple[int, int]  # by which a picture is reduced across and down
WHOLE: Factors = (1, 1)


def iterate_tiles(image: Image.Image, factors: Factors = WHOLE) -> Iterator[tuple[int, int, Image.Image]]:
    """Left, top and copy of each tile of a picture; tiles begin at multiples of the factors."""
    across, down = factors
    width = max(1, TILE_PIXELS // down // across) * across
    width = min(image.width, width)
    height = max(1, TILE_PIXELS // width // down) * down
    height = min(image.height, height)
    for top in range(0, image.height, height):
        bottom = min(image.height, top + height)
        for left in range(0, image.width, width):
            right = min(image.width, left + width)
            yield left, top, image.crop((left, top, right, bottom))


def map_tiles(
    image: Image.Image, change: Callable[[Image.Image], Image.Image], factors: Factors = WHOLE
) -> Image.Image:
    """The picture with every tile changed, reduced by the factors (mean of a box).

    Args:
        change: must change each pixel by itself.
    """
    across, down = factors
    size = (-(-image.width // across), -(-image.height // down))
    result: Image.Image | None = None
    for left, top, tile in iterate_tiles(image, factors):
        changed = change(tile)
        if factors != WHOLE:
            changed = changed.reduce(factors)
        if changed.size == size:
            return changed
        if result is None:
            result = Image.new(changed.mode, size)
        result.paste(changed, (left // across, top // down))
    assert result is not None, "a picture has at least one pixel"
    return result


def find_factors(size: tuple[int, int], most: int) -> Factors:
    """The smallest factors that leave at most `most` pixels: the same for both sides, unless one has too few pixels."""
    width, height = size
    factor = math.ceil(math.sqrt(width * height / most))
    if factor > width:
        return width, math.ceil(height / most)
    if factor > height:
        return math.ceil(width / most), height
    while -(-width // factor) * -(-height // factor) > most:
        factor += 1
    return factor, factor
