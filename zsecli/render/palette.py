"""Every colour that figures, sheets and curves use.

The two pages (`explanation_page.html`, `zse draw`) have light and dark themes of their own as CSS variables; of their
colours only the series of the attention heads is here.
"""

from __future__ import annotations

import numpy as np

from zsecli.arrays import Bytes, Floats64

Colour = str
"""As #rrggbb."""

WHITE: Colour = "#ffffff"
INK: Colour = "#1a1a1a"
"""Text and axes."""
FAINT: Colour = "#767676"
"""Secondary text and marks."""
BORDER: Colour = "#bbbbbb"
"""Frames of pictures."""
GRID: Colour = "#e0e0e0"
"""Grid lines of plots."""

BLUE: Colour = "#0072b2"
"""In favour: hits, evidence for a match."""
ORANGE: Colour = "#d55e00"
"""Against: misses, evidence against a match. Distinct from BLUE for colour-blind readers, and in grey."""
DARK_BLUE: Colour = "#08306b"
"""The largest value of a matrix; the smallest is white."""

SERIES: tuple[Colour, ...] = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Lines of a plot: Okabe and Ito's colours, safe for colour-blind readers; their yellow is too pale on white."""
HEADS: tuple[Colour, ...] = (*SERIES, "#444444", "#999999", "#003f63", "#7a3600", "#00523b", "#7b2d5b")
"""Attention heads in figures: Okabe and Ito's colours, greys and darker shades."""
PAGE_HEADS: tuple[Colour, ...] = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a900", "#7b4fb5", "#8c5a2b", "#5f8f1f",
    "#444", "#b0003a",
)  # fmt: skip
"""Attention heads on the page, which shows them over photos in either theme."""
RANKS: tuple[Colour, ...] = ("#440154", "#3b528b", "#21918c", "#5ec962")
"""From the surest match to the least sure one: viridis."""

# Ottosson's OKLab (2020): to the cube roots of the cones' responses, and from their cubes to linear sRGB
_LAB_TO_CONES = np.array(
    [
        [1, 0.3963, 0.2158],
        [1, -0.1056, -0.0639],
        [1, -0.0895, -1.2915],
    ]
)
_CONES_TO_RGB = np.array(
    [
        [4.0767, -3.3077, 0.2310],
        [-1.2684, 2.6098, -0.3413],
        [-0.0042, -0.7034, 1.7076],
    ]
)


def grid_colours(grid: tuple[int, int]) -> Bytes:
    """A colour (P, 3) for each place of a grid: hue runs from left to right, and it darkens from top to bottom.

    From blue over red to yellow: what red-green-blind readers see of that, more blue or more yellow, also runs one way.
    """
    rows, columns = grid
    y_grid, x_grid = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    x, y = x_grid.ravel(), y_grid.ravel()
    lightness = 0.88 - 0.48 * y
    chroma = np.full_like(x, 0.13)
    hue = np.radians(260 + 190 * x)
    return _oklch_to_srgb(lightness, chroma, hue)


def _oklch_to_srgb(lightness: Floats64, chroma: Floats64, hue: Floats64) -> Bytes:
    """Lightness and chroma in [0, 1] and hue in radians (N,) -> sRGB (N, 3)."""
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    cones = _LAB_TO_CONES @ lab
    linear = np.clip((_CONES_TO_RGB @ cones**3).T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)
