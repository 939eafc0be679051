"""The one writer of SVG."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape

from PIL import Image

from zsecli.render.fonts import shorten_to_width, text_width
from zsecli.render.palette import WHITE, Colour
from zsecli.runtime.marks import COMMENT

FONT = "Arial, Helvetica, DejaVu Sans, sans-serif"


class SvgDocument:
    """An SVG document on white, in units from the top left corner; later elements lie on earlier ones."""

    def __init__(self, width: float, height: float) -> None:
        size = f'width="{width:g}" height="{height:g}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" {size} '
        head += f'font-family="{FONT}"><rect {size} fill="{WHITE}"/>'
        self._elements: list[str] = [head, COMMENT]

    def to_text(self) -> str:
        """The document as text."""
        return "\n".join([*self._elements, "</svg>"]) + "\n"

    def add_image(self, picture: Image.Image, x: float, y: float, width: float, height: float) -> None:
        """A picture, stretched to width and height."""
        file = io.BytesIO()
        picture.save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        self._elements.append(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{data}"/>'
        )

    def add_line(
        self, x1: float, y1: float, x2: float, y2: float, colour: Colour, width: float = 1, dashes: str = ""
    ) -> None:
        """A straight line.

        Args:
            dashes: lengths of dashes and gaps, as "4 4".
        """
        dash_style = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._elements.append(
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width="{width:g}"{dash_style} '
            'stroke-linecap="round"/>'
        )

    def add_polyline(
        self, points: Iterable[tuple[float, float]], colour: Colour, width: float, opacity: float = 1
    ) -> None:
        """A line through points; the round cap makes a single point visible."""
        coordinates = [f"{x:.2f},{y:.2f}" for x, y in points]
        if len(coordinates) == 1:
            coordinates *= 2
        opacity_style = f' stroke-opacity="{opacity:g}"' if opacity < 1 else ""
        self._elements.append(
            f'<polyline points="{" ".join(coordinates)}" fill="none" stroke="{colour}" stroke-width="{width:g}"'
            f'{opacity_style} stroke-linejoin="round" stroke-linecap="round"/>'
        )

    def add_rectangle(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: Colour | None,
        stroke: Colour | None,
        stroke_width: float,
    ) -> None:
        self._elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill or "none"}" '
            f'stroke="{stroke or "none"}" stroke-width="{stroke_width:g}"/>'
        )

    def add_circle(
        self, x: float, y: float, radius: float, fill: Colour, stroke: Colour, stroke_width: float = 1
    ) -> None:
        self._elements.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}" stroke="{stroke}" '
            f'stroke-width="{stroke_width:g}"/>'
        )

    def add_text(
        self,
        x: float,
        y: float,
        text: str,
        colour: Colour,
        *,
        size: float = 13,
        anchor: str = "start",
        bold: bool = False,
        max_width: float | None = None,
        rotation: float = 0,
    ) -> str:
        """One line of text on the baseline y; returns what of it is shown.

        Args:
            anchor: whether x is the `start`, the `middle` or the `end` of the line.
            max_width: shorten the text with an ellipsis where it is wider. It then takes the same width in any font,
                and the whole text is its tooltip.
            rotation: degrees, about x and y.
        """
        text = replace_unprintable(text)
        shown = text
        style = ' font-weight="bold"' if bold else ""
        tooltip = ""
        if max_width is not None:
            shown = shorten_to_width(text, size, max_width)
            style += f' textLength="{text_width(shown, size):.1f}" lengthAdjust="spacingAndGlyphs"'
            tooltip = f"<title>{escape(text)}</title>"
        if rotation:
            style += f' transform="rotate({rotation:g} {x:g} {y:g})"'
        self._elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size:g}" text-anchor="{anchor}"{style}>'
            f"{escape(shown)}{tooltip}</text>"
        )
        return shown

    def define_clip(self, name: str, x: float, y: float, width: float, height: float) -> None:
        """Name a rectangle for `clip_to`."""
        rectangle = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/>'
        self._elements.append(f'<clipPath id="{name}">{rectangle}</clipPath>')

    @contextlib.contextmanager
    def clip_to(self, name: str) -> Iterator[None]:
        """Cut off what is added within, outside the rectangle that `define_clip` named."""
        self._elements.append(f'<g clip-path="url(#{name})">')
        yield
        self._elements.append("</g>")


def replace_unprintable(text: str) -> str:
    """The text with ? for characters that XML may not hold; the name of a file may have them."""
    return "".join(character if character.isprintable() else "?" for character in text)
