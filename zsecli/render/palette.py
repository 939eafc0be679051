"""Every colour that figures, sheets and curves use.

The two pages (`explanation_page.html`, `zse draw`) have light and dark themes of their own as CSS variables; of their
colours only the series of the attention heads is here.
"""

from __future__ import annotations

Colour = str
"""As #rrggbb."""

WHITE: Colour = "#ffffff"
INK: Colour = "#1a1a1a"
"""Text and axes."""
FAINT: Colour = "#666666"
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
