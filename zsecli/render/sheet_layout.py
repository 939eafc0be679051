"""What the sheets of pictures share: distances, sizes of text, and a caption under a cell. All in pixels."""

from __future__ import annotations

from PIL import ImageDraw

from zsecli.render.fonts import draw_text
from zsecli.render.palette import Colour

MARGIN = 24  # around the sheet
GAP = 10  # between cells
LINE = 16  # height of a line of captions
TITLE_SIZE = 16
TEXT_SIZE = 12


def draw_caption(draw: ImageDraw.ImageDraw, left: int, top: int, text: str, width: int, colour: Colour) -> None:
    """One line of small text, shortened with an ellipsis where it is wider than `width`."""
    draw_text(draw, left, top + 1, text, colour, TEXT_SIZE, max_width=width, anchor="la")
