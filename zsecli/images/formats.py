"""What a picture file is by its name and its first bytes, and how much of it there may be."""

from __future__ import annotations

import re
from typing import BinaryIO

from zsecli.images.picture_errors import PictureError

# Suffixes of pictures that Pillow reads; others it knows are known by their content (zsecli.data.folder_walk).
SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga"),
}
EXPORTED = {".svg", ".heic", ".heif", ".avif", ".jxl", ".eps"}  # of pictures that not every Pillow reads

MOST_SCANS = 100  # of a JPEG, as libtiff allows; encoders make up to 18, and each takes as long as the whole picture
MOST_SEGMENTS = 2**14  # of a JPEG: a colour profile has up to 255
SCANNED_BYTES = 2**28  # only this much of a JPEG is searched for scans; a 178-megapixel JPEG is smaller
BLOCK_BYTES = 2**20  # searched together
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")  # before a segment, or the end
_END_OF_IMAGE, _START_OF_SCAN = b"\xd9", b"\xda"

_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")
_HEIC = "a HEIC photo: save it as JPEG"
_JPEG_XL = "a JPEG XL picture: save it as PNG"
_OTHER_FORMATS = (  # position, bytes there, what they mean
    (0, b"%PDF", "a PDF document: export its page as PNG"),
    (4, b"ftyphei", _HEIC),
    (4, b"ftyphev", _HEIC),
    (4, b"ftypmif1", _HEIC),
    (4, b"ftypmsf1", _HEIC),
    (4, b"ftypavi", "an AVIF picture, which this Pillow does not read: save it as PNG"),
    (4, b"JXL ", _JPEG_XL),
    (0, b"\xff\x0a", _JPEG_XL),
)


def is_postscript(head: bytes) -> bool:
    """Whether a file that begins so is a PostScript drawing, which Pillow would have another program run."""
    return head.startswith(_POSTSCRIPT)


def is_jpeg(head: bytes) -> bool:
    """Whether a file that begins so is a JPEG."""
    return head.startswith(b"\xff\xd8")


def describe_other_format(head: bytes) -> str:
    """What a file is that Pillow does not read, by its first bytes, and what helps."""
    for position, signature, meaning in _OTHER_FORMATS:
        if head.startswith(signature, position):
            return meaning
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture"
    if text.startswith(b"<") and b"<svg" in text:
        return "an SVG drawing: export it as PNG"
    return "not a picture"


def count_scans(jpeg: BinaryIO) -> int:
    """The scans of a JPEG; PictureError for so many, or so many segments, that a small file takes minutes.

    It goes from marker to marker as libjpeg does: a thumbnail within a segment, or a video behind the end, has others.
    """
    scans = segments = 0
    data = b""
    position = 0  # in `data`, from which on markers are searched
    for _ in range(SCANNED_BYTES // BLOCK_BYTES):
        block = jpeg.read(BLOCK_BYTES)
        if not block:
            break
        data, position = data[position:] + block, max(0, position - len(data))
        marker = _MARKER.search(data, position)
        while marker and len(data) >= marker.end() + 2:
            if marker[1] == _END_OF_IMAGE:
                return scans
            scans += marker[1] == _START_OF_SCAN
            segments += 1
            if scans > MOST_SCANS:
                raise PictureError(f"a JPEG of more than {MOST_SCANS} scans, too many for a real picture")
            if segments > MOST_SEGMENTS:
                raise PictureError(f"a JPEG of more than {MOST_SEGMENTS} segments, too many for a real picture")
            position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
            marker = _MARKER.search(data, position)
        position = marker.start() if marker else max(position, len(data) - 1)  # a marker may lie across two blocks
    return scans
