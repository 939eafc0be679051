"""An explanation as one HTML file that holds its pictures and its script, and asks nothing of a network."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

TEMPLATE = Path(__file__).with_name("explanation_page.html")
OVERLAY = Path(__file__).with_name("overlay.js")  # `zse draw` serves the same file
LONG, FEW = 720, 256  # pixels of a picture's long side; colours up to which a PNG is the smaller file
ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def render(document: dict[str, Any], pictures: Mapping[str, Image.Image]) -> str:
    """The page as text.

    Args:
        document: what `zsecli.render.explanation_json.describe` returns.
        pictures: RGB, in their own size: "sketch", "photo", and "contrast" where the document has one.
    """
    parts = {
        "title": html.escape(f"{document['sketch']['name']} and {document['photo']['name']}"),
        "data": _json(document),
        "overlay": OVERLAY.read_text("utf-8"),
        "pictures": _json({name: _embedded(picture) for name, picture in pictures.items()}),
    }
    # in one pass, so that a name such as "{{data}}" stays a name
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], TEMPLATE.read_text("utf-8"))


def write(document: dict[str, Any], pictures: Mapping[str, Image.Image], path: Path) -> None:
    """Write the page that `render` makes of the same."""
    path.write_text(render(document, pictures), "utf-8", errors="replace")  # the name of a file need not be UTF-8


def _json(value: Any) -> str:
    """JSON in ASCII that ends no script element, whatever it holds."""
    return json.dumps(value, allow_nan=False).translate(ESCAPED)


def _embedded(picture: Image.Image) -> str:
    """A picture as a data URI."""
    picture = picture.copy()
    picture.thumbnail((LONG, LONG), Image.Resampling.LANCZOS)
    kind = "PNG" if picture.getcolors(FEW) else "JPEG"
    file = io.BytesIO()
    picture.save(file, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
