"""Which way up a picture is, and the file of a picture without all else that is written beside its pixels.

Cameras, phones and editors write odd metadata, and Pillow refuses a picture for some of it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from PIL import Image

ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_JPEG_PIXELS = {0xE0, 0xEE}  # JFIF; Adobe's, which says how colours are stored
_EXIF = b"Exif\0\0"
# Tags of TIFF without which pixels cannot be read, and the orientation.
_TIFF_PIXELS = {254, 255, 256, 257, 258, 259, 262, 266, 273, ORIENTATION, 277, 278, 279, 284, 292, 293, 317, 320, 322,
                323, 324, 325, 330, 332, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530,
                531, 532, 34665}  # fmt: skip
_LARGEST = 2**26  # bytes of a file of which a copy is made
_TIFF_TYPES = {3: "H", 4: "I"}


def orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF (or XMP) has it; 1, upright, for anything that is not one whole number from 1 to 8."""
    try:
        return _valid(image.getexif().get(ORIENTATION))
    except Exception:  # whatever Pillow stumbles over, the pixels are sound
        return 1


def upright(image: Image.Image, turn: int) -> Image.Image:
    """The picture turned as an orientation (1 to 8) says."""
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def without_metadata(file: BinaryIO) -> BinaryIO | None:
    """A JPEG, PNG or TIFF without all that does not belong to its pixels, but its orientation; None for other files.

    The copy is in memory; of a very large file none is made.
    """
    if file.seek(0, io.SEEK_END) > _LARGEST:
        return None
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    try:
        if head.startswith(b"\xff\xd8"):
            return io.BytesIO(b"".join(_jpeg(file.read())))
        if head == _PNG:
            return io.BytesIO(b"".join(_png(file.read())))
        if head[:4] in (b"II*\0", b"MM\0*"):
            return io.BytesIO(_tiff(file.read()))
    except (struct.error, IndexError):  # damaged
        pass
    return None


def _valid(value: object) -> int:
    try:
        turn = int(value) if value in range(1, 9) else 1  # type: ignore[call-overload]
    except TypeError:
        turn = 1
    return int(turn)


def _exif_orientation(block: bytes) -> int:
    exif = Image.Exif()
    try:
        exif.load(block)
        return _valid(exif.get(ORIENTATION))
    except Exception:
        return 1


def _exif_block(turn: int) -> bytes:
    """An EXIF block that holds an orientation and nothing else."""
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", ORIENTATION, 3, 1, turn, 0) + bytes(4)


def _jpeg(data: bytes) -> Iterator[bytes]:
    """The segments before the first scan that say something of the pixels, and all that follows."""
    yield data[:2]
    place, turn = 2, 1
    while data[place] == 0xFF and data[place + 1] != 0xDA:
        if data[place + 1] == 0xFF:  # padding
            place += 1
            continue
        kind, (length,) = data[place + 1], struct.unpack_from(">H", data, place + 2)
        segment = data[place : place + 2 + length]
        if kind == 0xE1 and segment[4:].startswith(_EXIF):
            turn = _exif_orientation(segment[4:])
        elif not (0xE0 <= kind <= 0xEF or kind == 0xFE) or kind in _JPEG_PIXELS:
            yield segment
        place += 2 + length
    block = _EXIF + _exif_block(turn)
    yield b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    yield data[place:]


def _png(data: bytes) -> Iterator[bytes]:
    """The chunks that say something of the pixels."""
    yield data[:8]
    place, turn = 8, 1
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        chunk = data[place : place + 12 + length]
        if kind == b"eXIf":
            turn = _exif_orientation(_EXIF + chunk[8:-4])
        elif kind == b"IEND":
            block = b"eXIf" + _exif_block(turn)
            yield struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
        if kind in _PNG_PIXELS:
            yield chunk
        place += 12 + length


def _tiff(data: bytes) -> bytes:
    """The first directory with the tags that say something of the pixels; the picture's later pages are cut off."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    kept = []
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, place)
        odd = tag == ORIENTATION and (kind not in _TIFF_TYPES or values != 1)
        if tag in _TIFF_PIXELS and not odd:
            kept.append(data[place : place + 12])
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    whole = bytearray(data)
    whole[start : start + len(directory)] = directory
    return bytes(whole)
