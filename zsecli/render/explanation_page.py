"""An explanation as one self-contained HTML file: pictures and script are in it, and nothing is loaded."""

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

from zsecli.render.palette import PAGE_HEADS

TEMPLATE = Path(__file__).with_name("explanation_page.html")
OVERLAY = Path(__file__).with_name("overlay.js")  # `zse draw` serves the same file
MAX_SIDE = 720  # pixels of a picture's long side
MAX_PNG_COLOURS = 256  # up to which a PNG is the smaller file
SCRIPT_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&"}


def render_page(document: dict[str, Any], pictures: Mapping[str, Image.Image]) -> str:
    """The page as text.

    Args:
        document: what `zsecli.render.explanation_json.describe_explanation` returns.
        pictures: RGB, in their own size: "sketch", "photo", and "contrast" where the document has one.
    """
    values = {
        "title": html.escape(f"{document['sketch']['name']} and {document['photo']['name']}"),
        "data": _to_script_json(document),
        "overlay": OVERLAY.read_text("utf-8"),
        "heads": json.dumps(PAGE_HEADS),
        "pictures": _to_script_json({name: _to_data_uri(picture) for name, picture in pictures.items()}),
    }
    # in one pass, so that a name such as "{{data}}" stays a name
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], TEMPLATE.read_text("utf-8"))


def write_page(document: dict[str, Any], pictures: Mapping[str, Image.Image], path: Path) -> None:
    """Write the page; arguments as in `render_page`."""
    path.write_text(render_page(document, pictures), "utf-8", errors="replace")  # the name of a file need not be UTF-8


def _to_script_json(value: Any) -> str:
    """JSON in ASCII that cannot end a script element, whatever it holds."""
    return json.dumps(value, allow_nan=False).translate(SCRIPT_ESCAPES)


def _to_data_uri(picture: Image.Image) -> str:
    """A picture as a data URI."""
    picture = picture.copy()
    picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    kind = "PNG" if picture.getcolors(MAX_PNG_COLOURS) else "JPEG"
    file = io.BytesIO()
    picture.save(file, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
