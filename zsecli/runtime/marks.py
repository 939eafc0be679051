"""The mark that zse leaves in what it writes, by which it tells its own files from a user's.

A picture with the mark is never taken for a photo, and only a side file with one is reused or removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

HEAD = 2**16  # bytes at the beginning of a file that are searched for a mark
COMMENT = "<!-- Software: zse -->"  # near the beginning of an SVG drawing or an HTML page
_PNG, _PNG_TEXT = b"\x89PNG\r\n\x1a\n", b"tEXtSoftware\0zse"
_JSON_SCHEMA, _TENSOR_SCHEMA = b'"schema": "zse-', b'"zse-schema"'


def png_text() -> PngInfo:
    """The text chunk for `Image.save(..., pnginfo=png_text())`; it precedes the pixels."""
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("Software", "zse")
    return text


def is_own_picture(head: bytes) -> bool:
    """Whether a file that begins with `head` is a PNG picture or an SVG drawing that zse made."""
    if head.startswith(_PNG):
        return _PNG_TEXT in head
    return COMMENT.encode() in head[:512]


def is_own_file(head: bytes) -> bool:
    """Whether a file that begins with `head` bears a mark of zse: a picture, a page, JSON, or a safetensors file."""
    if is_own_picture(head):
        return True
    if head.startswith(b"{"):
        return _JSON_SCHEMA in head[:512]
    return head[8:9] == b"{" and _TENSOR_SCHEMA in head
