"""A drawing of pictures, lines, boxes and text, as SVG and as PNG alike."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from xml.sax.saxutils import escape

from PIL import Image, ImageColor, ImageDraw

from zsecli.arrays import Pixels
from zsecli.render.fonts import draw_text, shortened, width_of
from zsecli.runtime.marks import COMMENT

Colour = str  # #rrggbb
FINE = 2  # pixels of the PNG to a unit
SMOOTH = 2  # pixels drawn to one of the PNG: Pillow's lines have no smooth edges
FONT = "Arial, Helvetica, DejaVu Sans, sans-serif"


class Canvas:
    """Collects what is drawn, in units from the top left corner; later things lie on earlier ones."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._svg: list[str] = []
        self._png: list[Callable[[Image.Image, float], None]] = []

    def image(self, picture: Image.Image, x: float, y: float, width: float, height: float) -> None:
        """A picture, stretched to width and height."""
        file = io.BytesIO()
        picture.save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        self._svg.append(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{data}"/>'
        )

        def draw(page: Image.Image, k: float) -> None:
            size = max(1, round(width * k)), max(1, round(height * k))
            page.paste(picture.convert("RGB").resize(size, Image.Resampling.LANCZOS), (round(x * k), round(y * k)))

        self._png.append(draw)

    def line(
        self, x: float, y: float, u: float, v: float, colour: Colour, width: float = 1, opacity: float = 1
    ) -> None:
        """From x, y to u, v."""
        self._svg.append(
            f'<path d="M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}" stroke="{colour}" stroke-width="{width:g}" '
            'stroke-linecap="round"/>'
        )
        self._draw(lambda d, k: d.line((x * k, y * k, u * k, v * k), colour, max(1, round(width * k))))

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        fill: Colour | None = None,
        stroke: Colour | None = None,
        line: float = 1,
    ) -> None:
        """A rectangle, filled, outlined inside its borders, or both."""
        self._svg.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill or "none"}" '
            f'stroke="{stroke or "none"}" stroke-width="{line:g}"/>'
        )

        def draw(d: ImageDraw.ImageDraw, k: float) -> None:
            corners = (x * k, y * k, max(x * k, (x + width) * k - 1), max(y * k, (y + height) * k - 1))
            d.rectangle(corners, fill, stroke, max(1, round(line * k)))

        self._draw(draw)

    def dot(self, x: float, y: float, radius: float, colour: Colour, edge: Colour) -> None:
        """A disc with a thin edge."""
        self._svg.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}" stroke="{edge}" stroke-width="1"/>'
        )
        r = radius
        self._draw(lambda d, k: d.ellipse(((x - r) * k, (y - r) * k, (x + r) * k, (y + r) * k), colour, edge, round(k)))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        colour: Colour,
        size: float = 13,
        anchor: str = "start",
        bold: bool = False,
        most: float | None = None,
    ) -> None:
        """One line whose baseline begins (`start`), has its middle (`middle`) or ends (`end`) at x, y.

        Cut with an ellipsis where it is wider than `most`; the SVG is as wide in any font, and has the whole text as
        its tooltip.
        """
        whole = "".join(c if c.isprintable() else "?" for c in text)  # a file's name may hold what XML may not
        weight = ' font-weight="bold"' if bold else ""
        shown, tooltip = whole, ""
        if most is not None:
            shown = shortened(whole, size, most)
            weight += f' textLength="{width_of(shown, size):.1f}" lengthAdjust="spacingAndGlyphs"'
            tooltip = f"<title>{escape(whole)}</title>"
        self._svg.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size:g}" text-anchor="{anchor}"{weight}>'
            f"{escape(shown)}{tooltip}</text>"
        )
        where = {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        thick = 0.025 * size if bold else 0

        def draw(d: ImageDraw.ImageDraw, k: float) -> None:
            draw_text(d, x * k, y * k, shown, colour, size * k, anchor=where, thick=thick * k)

        self._draw(draw)

    def svg(self) -> str:
        """The drawing as an SVG document, on white."""
        size = f'width="{self.width:g}" height="{self.height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" {size} '
        head += f'font-family="{FONT}"><rect {size} fill="#ffffff"/>'
        return "\n".join([head, COMMENT, *self._svg, "</svg>"]) + "\n"

    def png(self) -> Image.Image:
        """The drawing as a picture, on white."""
        k = FINE * SMOOTH
        page = Image.new("RGB", (round(self.width * k), round(self.height * k)), "#ffffff")
        for draw in self._png:
            draw(page, k)
        return page.reduce(SMOOTH)

    def _draw(self, draw: Callable[[ImageDraw.ImageDraw, float], None]) -> None:
        self._png.append(lambda page, k: draw(ImageDraw.Draw(page), k))


def tint(picture: Image.Image, strength: Pixels, colour: Colour) -> Image.Image:
    """A picture with `colour` laid over it, as opaque as `strength` (H, W) uint8 says."""
    over = Image.new("RGB", picture.size, ImageColor.getrgb(colour))
    return Image.composite(over, picture.convert("RGB"), Image.fromarray(strength))
