"""A drawing of pictures, lines, boxes and text, written as SVG and as PNG alike."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image, ImageColor, ImageDraw

from zsecli.arrays import Bytes
from zsecli.render.fonts import draw_text
from zsecli.render.palette import WHITE, Colour
from zsecli.render.svg import SvgDocument

PIXELS_PER_UNIT = 2
SUPERSAMPLING = 2  # Pillow's lines have no smooth edges, so the PNG is drawn larger and reduced
PILLOW_ANCHORS = {"start": "ls", "middle": "ms", "end": "rs"}


class Canvas:
    """Collects what is drawn, in units from the top left corner; later things lie on earlier ones."""

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self._svg = SvgDocument(width, height)
        self._png_steps: list[Callable[[Image.Image, float], None]] = []
        """Each draws onto a page, with so many pixels to a unit."""

    def image(self, picture: Image.Image, x: float, y: float, width: float, height: float) -> None:
        """A picture, stretched to width and height."""
        self._svg.add_image(picture, x, y, width, height)

        def paste(page: Image.Image, scale: float) -> None:
            size = max(1, round(width * scale)), max(1, round(height * scale))
            resized = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
            page.paste(resized, (round(x * scale), round(y * scale)))

        self._png_steps.append(paste)

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: Colour, width: float = 1) -> None:
        """A straight line from x1, y1 to x2, y2."""
        self._svg.add_line(x1, y1, x2, y2, colour, width)

        def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
            ends = (x1 * scale, y1 * scale, x2 * scale, y2 * scale)
            pen.line(ends, colour, max(1, round(width * scale)))

        self._add_png_step(draw)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: Colour | None = None,
        stroke: Colour | None = None,
        stroke_width: float = 1,
    ) -> None:
        """A rectangle, filled, outlined inside its borders, or both."""
        self._svg.add_rectangle(x, y, width, height, fill=fill, stroke=stroke, stroke_width=stroke_width)

        def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
            left, top = x * scale, y * scale
            right = max(left, (x + width) * scale - 1)
            bottom = max(top, (y + height) * scale - 1)
            pen.rectangle((left, top, right, bottom), fill, stroke, max(1, round(stroke_width * scale)))

        self._add_png_step(draw)

    def dot(self, x: float, y: float, radius: float, colour: Colour, edge: Colour) -> None:
        """A disc with a thin edge."""
        self._svg.add_circle(x, y, radius, colour, edge)

        def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
            bounds = (x - radius) * scale, (y - radius) * scale, (x + radius) * scale, (y + radius) * scale
            pen.ellipse(bounds, colour, edge, round(scale))

        self._add_png_step(draw)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: Colour,
        size: float = 13,
        *,
        anchor: str = "start",
        bold: bool = False,
        max_width: float | None = None,
    ) -> None:
        """One line of text, see `SvgDocument.add_text`."""
        shown = self._svg.add_text(x, y, text, colour, size=size, anchor=anchor, bold=bold, max_width=max_width)
        stroke = 0.025 * size if bold else 0

        def draw(pen: ImageDraw.ImageDraw, scale: float) -> None:
            draw_text(
                pen,
                x * scale,
                y * scale,
                shown,
                colour,
                size * scale,
                anchor=PILLOW_ANCHORS[anchor],
                stroke=stroke * scale,
            )

        self._add_png_step(draw)

    def to_svg(self) -> str:
        """The drawing as an SVG document, on white."""
        return self._svg.to_text()

    def to_png(self) -> Image.Image:
        """The drawing as a picture, on white."""
        scale = PIXELS_PER_UNIT * SUPERSAMPLING
        page = Image.new("RGB", (round(self.width * scale), round(self.height * scale)), WHITE)
        for draw in self._png_steps:
            draw(page, scale)
        return page.reduce(SUPERSAMPLING)

    def _add_png_step(self, draw: Callable[[ImageDraw.ImageDraw, float], None]) -> None:
        self._png_steps.append(lambda page, scale: draw(ImageDraw.Draw(page), scale))


def tint(picture: Image.Image, opacity: Bytes, colour: Colour) -> Image.Image:
    """A picture under a layer of `colour` with the opacity (H, W) uint8."""
    layer = Image.new("RGB", picture.size, ImageColor.getrgb(colour))
    return Image.composite(layer, picture.convert("RGB"), Image.fromarray(opacity))
