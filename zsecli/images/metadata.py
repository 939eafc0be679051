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
_STRIPS = (273, 324)  # tags: where the strips, or the tiles, are
_WHOLE_NUMBERS = {3: "H", 4: "I", 8: "h", 9: "i"}  # types of tags


def read_orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF (or XMP) has it; 1, upright, for all else. Of several numbers the first counts."""
    turn = _exif_orientation(image.info.get("exif"))
    if turn is not None:
        return turn
    try:  # a tag of TIFF, or XMP
        return _valid(image.getexif().get(ORIENTATION))
    except Exception:  # whatever Pillow stumbles over, the pixels are sound
        return 1


def turn_upright(image: Image.Image, turn: int) -> Image.Image:
    """The picture turned as an orientation (1 to 8) says."""
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def strip_metadata(file: BinaryIO) -> BinaryIO | None:
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


def count_strips(file: BinaryIO) -> int:
    """How many strips or tiles the first picture of a TIFF says it has; 0 for other files. `file` is at its beginning.

    Pillow takes microseconds and hundreds of bytes for each, before anybody can ask it.
    """
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    count = 0
    try:
        if order and head[2:4] in (b"*\0", b"\0*"):
            file.seek(struct.unpack_from(order + "I", head, 4)[0])
            tags = struct.unpack(order + "H", file.read(2))[0]
            count = _largest_count(file.read(12 * tags), order + "HHI4x")
        elif order and head[2:4] in (b"+\0", b"\0+"):  # BigTIFF
            file.seek(struct.unpack_from(order + "Q", head, 8)[0])
            tags = min(2**16, struct.unpack(order + "Q", file.read(8))[0])
            count = _largest_count(file.read(20 * tags), order + "HHQ8x")
    except struct.error:  # cut off
        pass
    file.seek(0)
    return count


def _largest_count(directory: bytes, entry: str) -> int:
    entries = struct.iter_unpack(entry, directory[: len(directory) // struct.calcsize(entry) * struct.calcsize(entry)])
    return max((count for tag, _, count in entries if tag in _STRIPS), default=0)


def _valid(value: object) -> int:
    try:
        turn = int(value) if value in range(1, 9) else 1  # type: ignore[call-overload]
    except TypeError:
        turn = 1
    return int(turn)


def _exif_orientation(block: object) -> int | None:
    """The orientation in an EXIF block, of which nothing else is looked at; None where there is none.

    Pillow reads no tag behind one whose value is cut off.
    """
    if not isinstance(block, bytes):
        return None
    block = block.removeprefix(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None:
        return None
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(order + "HHI", block, place)
            if tag == ORIENTATION:
                if kind not in _WHOLE_NUMBERS or not values:
                    return 1
                number = order + _WHOLE_NUMBERS[kind]
                at = place + 8  # of the value, or of where several values are, of which the first counts
                if struct.calcsize(number) * values > 4:
                    (at,) = struct.unpack_from(order + "I", block, at)
                return _valid(struct.unpack_from(number, block, at)[0])
    except struct.error:  # the block ends before
        pass
    return None


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
            turn = _exif_orientation(segment[4:]) or 1
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
            turn = _exif_orientation(chunk[8:-4]) or 1
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
        odd = tag == ORIENTATION and (kind not in _WHOLE_NUMBERS or not values)
        if tag in _TIFF_PIXELS and not odd:
            kept.append(data[place : place + 12])
    directory = struct.pack(order + "H", len(kept)) + b"".join(kept) + bytes(4)
    whole = bytearray(data)
    whole[start : start + len(directory)] = directory
    return bytes(whole)
