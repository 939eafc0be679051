"""The orientation of a picture, and its file without all other metadata.

Cameras, phones and editors write invalid metadata, and Pillow refuses a picture for some of it.
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
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_JPEG_PIXEL_SEGMENTS = {0xE0, 0xEE}  # JFIF; Adobe's, which says how colours are stored
_EXIF = b"Exif\0\0"
# Tags of TIFF without which pixels cannot be read, and the orientation.
_TIFF_PIXEL_TAGS = {
    *(254, 255, 256, 257, 258, 259, 262, 266, 273, ORIENTATION, 277, 278, 279, 284, 292, 293, 317, 320, 322),
    *(323, 324, 325, 330, 332, 338, 339, 340, 341, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530),
    *(531, 532, 34665),
}
_LARGEST_COPY = 2**26  # bytes
_ENTRY_BYTES = 12  # of a directory of TIFF
_STRIP_TAGS = (273, 324)  # where the strips, or the tiles, are
_INTEGER_TYPES = {3: "H", 4: "I", 8: "h", 9: "i"}  # of tags: struct's code for each


def read_orientation(image: Image.Image) -> int:
    """1 to 8 as EXIF (or XMP) says; 1, upright, for anything else. The first of several numbers counts."""
    turn = _exif_orientation(image.info.get("exif"))
    if turn is not None:
        return turn
    try:  # a tag of TIFF, or XMP
        return _valid_orientation(image.getexif().get(ORIENTATION))
    except Exception:  # whatever Pillow stumbles over, the pixels are sound
        return 1


def turn_upright(image: Image.Image, turn: int) -> Image.Image:
    """The picture turned as an orientation (1 to 8) says."""
    return image.transpose(_TURNS[turn]) if turn in _TURNS else image


def strip_metadata(file: BinaryIO) -> BinaryIO | None:
    """A copy of a JPEG, PNG or TIFF without metadata but its orientation; None for other files.

    The copy is in memory; of a very large file none is made.
    """
    if file.seek(0, io.SEEK_END) > _LARGEST_COPY:
        return None
    file.seek(0)
    head = file.read(8)
    file.seek(0)
    try:
        if head.startswith(b"\xff\xd8"):
            return io.BytesIO(b"".join(_strip_jpeg(file.read())))
        if head == _PNG_SIGNATURE:
            return io.BytesIO(b"".join(_strip_png(file.read())))
        if head[:4] in (b"II*\0", b"MM\0*"):
            return io.BytesIO(_strip_tiff(file.read()))
    except (struct.error, IndexError):  # damaged
        pass
    return None


def count_strips(file: BinaryIO) -> int:
    """How many strips or tiles the first picture of a TIFF says it has; 0 for other files. `file` is at its beginning.

    Pillow takes microseconds and hundreds of bytes for each, before anybody can ask it.
    """
    head = file.read(16)
    byte_order = {b"II": "<", b"MM": ">"}.get(head[:2])
    count = 0
    try:
        if byte_order and head[2:4] in (b"*\0", b"\0*"):
            file.seek(struct.unpack_from(byte_order + "I", head, 4)[0])
            tags = struct.unpack(byte_order + "H", file.read(2))[0]
            count = _find_strip_count(file.read(12 * tags), byte_order + "HHI4x")
        elif byte_order and head[2:4] in (b"+\0", b"\0+"):  # BigTIFF
            file.seek(struct.unpack_from(byte_order + "Q", head, 8)[0])
            tags = min(2**16, struct.unpack(byte_order + "Q", file.read(8))[0])
            count = _find_strip_count(file.read(20 * tags), byte_order + "HHQ8x")
    except struct.error:  # cut off
        pass
    file.seek(0)
    return count


def _find_strip_count(directory: bytes, entry_format: str) -> int:
    """The number of strips or tiles in a directory of TIFF."""
    size = struct.calcsize(entry_format)
    complete = directory[: len(directory) // size * size]
    counts = [count for tag, _, count in struct.iter_unpack(entry_format, complete) if tag in _STRIP_TAGS]
    return max(counts, default=0)


def _valid_orientation(value: object) -> int:
    """The orientation; 1, upright, for what is none."""
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
    byte_order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if byte_order is None:
        return None
    try:
        for position, tag, kind, count in _iterate_tags(block, byte_order):
            if tag == ORIENTATION:
                return _read_orientation_value(block, byte_order, position, kind, count)
    except struct.error:  # the block ends before
        pass
    return None


def _iterate_tags(data: bytes, byte_order: str) -> Iterator[tuple[int, int, int, int]]:
    """Position, tag, type and number of values of the entries in the first directory of a TIFF or EXIF block."""
    (start,) = struct.unpack_from(byte_order + "I", data, 4)
    (count,) = struct.unpack_from(byte_order + "H", data, start)
    first = start + 2
    for position in range(first, first + _ENTRY_BYTES * count, _ENTRY_BYTES):
        tag, kind, values = struct.unpack_from(byte_order + "HHI", data, position)
        yield position, tag, kind, values


def _read_orientation_value(block: bytes, byte_order: str, position: int, kind: int, count: int) -> int:
    """The orientation in an entry of a directory, of `count` values."""
    if kind not in _INTEGER_TYPES or not count:
        return 1
    number = byte_order + _INTEGER_TYPES[kind]
    value_position = position + 8
    if struct.calcsize(number) * count > 4:  # the values are elsewhere; the first counts
        (value_position,) = struct.unpack_from(byte_order + "I", block, value_position)
    return _valid_orientation(struct.unpack_from(number, block, value_position)[0])


def _exif_block(turn: int) -> bytes:
    """An EXIF block that holds an orientation and nothing else."""
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", ORIENTATION, 3, 1, turn, 0) + bytes(4)


def _strip_jpeg(data: bytes) -> Iterator[bytes]:
    """The segments before the first scan that belong to the pixels, the orientation, and all that follows."""
    yield data[:2]
    position = 2
    turn = 1
    while data[position] == 0xFF and data[position + 1] != 0xDA:
        kind = data[position + 1]
        if kind == 0xFF:  # padding
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        segment = data[position : position + 2 + length]
        is_metadata = 0xE0 <= kind <= 0xEF or kind == 0xFE
        if kind == 0xE1 and segment[4:].startswith(_EXIF):
            turn = _exif_orientation(segment[4:]) or 1
        elif not is_metadata or kind in _JPEG_PIXEL_SEGMENTS:
            yield segment
        position += 2 + length
    block = _EXIF + _exif_block(turn)
    yield b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    yield data[position:]


def _strip_png(data: bytes) -> Iterator[bytes]:
    """The chunks that belong to the pixels, and the orientation."""
    yield data[:8]
    position = 8
    turn = 1
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + 12 + length]
        if kind == b"eXIf":
            turn = _exif_orientation(chunk[8:-4]) or 1
        elif kind == b"IEND":
            block = b"eXIf" + _exif_block(turn)
            yield struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
        if kind in _PNG_PIXEL_CHUNKS:
            yield chunk
        position += 12 + length


def _strip_tiff(data: bytes) -> bytes:
    """The first directory with the tags that belong to the pixels; the picture's later pages are cut off."""
    byte_order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(byte_order + "I", data, 4)
    entries = []
    for position, tag, kind, count in _iterate_tags(data, byte_order):
        is_invalid = tag == ORIENTATION and (kind not in _INTEGER_TYPES or not count)
        if tag in _TIFF_PIXEL_TAGS and not is_invalid:
            entries.append(data[position : position + _ENTRY_BYTES])
    directory = struct.pack(byte_order + "H", len(entries)) + b"".join(entries) + bytes(4)
    stripped = bytearray(data)
    stripped[start : start + len(directory)] = directory
    return bytes(stripped)
