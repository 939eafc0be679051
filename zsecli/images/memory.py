"""A budget for the memory of decoding pictures, over all threads: a large picture waits until there is room."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image

BUDGET = 2**30  # bytes of decoded pictures at once: with PyTorch, a command stays below 2 GiB
LARGE = 2**28  # bytes of a picture whose memory is returned to the system at once: that takes milliseconds
_CHANNEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # all other modes: 4
_ROW_POINTER = 8  # bytes
# Bytes a pixel that a decoder holds beside the picture: these go through it row by row, GIF has one more canvas.
_DECODER_BYTES = {
    "raw": 0,
    "zip": 0,
    "jpeg": 0,
    "libtiff": 0,
    "packbits": 0,
    "tga_rle": 0,
    "sun_rle": 0,
    "pcx": 0,
    "gif": 1,
}
_OTHER_DECODER_BYTES = 16  # measured: WebP 12, AVIF 8, JPEG 2000 16
# Tags of TIFF.
_BITS = 258
_PHOTOMETRIC = 262
_YCBCR = 6  # a value of _PHOTOMETRIC
_ORIENTATION = 274
_SAMPLES = 277
_ROWS_PER_STRIP = 278
_TILE_WIDTH = 322
_TILE_LENGTH = 323


class MemoryBudget:
    """Room for `total` bytes, shared by the threads of this process, or by those of all its worker processes.

    Args:
        shared: for worker processes that are started after this; a lock of the operating system is held for them.
    """

    def __init__(self, total: int = BUDGET, shared: bool = False) -> None:
        self.total = total
        self._changed: Any = multiprocessing.Condition() if shared else threading.Condition()
        self._used: Any = multiprocessing.RawValue("q", 0) if shared else _LocalValue()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait for room of `size` bytes and hold it; what is larger than the whole budget waits until it is alone.

        Not to be called by a thread that holds room already: two of them could wait for each other.
        """
        size = min(size, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self._used.value + size <= self.total)
            self._used.value += size
        try:
            yield
        finally:
            if size > LARGE:
                _return_to_system()
            with self._changed:
                self._used.value -= size
                self._changed.notify_all()


def _return_to_system() -> None:
    """Have the C library return free memory to the system: it keeps up to hundreds of MiB for each thread."""
    with contextlib.suppress(OSError, AttributeError):  # other C libraries have no such function, or return it anyway
        ctypes.CDLL(None).malloc_trim(0)


class _LocalValue:
    """Stands for multiprocessing.RawValue within one process."""

    value = 0


MEMORY = MemoryBudget()  # of this process


def estimate_decoding_bytes(image: Image.Image, scans: int, full_size: tuple[int, int]) -> int:
    """The bytes that decoding a picture takes, of which only the header was read.

    Args:
        image: opened; in draft mode if it is going to be decoded so.
        scans: of a JPEG; where there are several its decoder holds all coefficients of the `full_size` picture.
        full_size: width and height without draft mode.
    """
    width, height = image.size
    row_bytes = -(-width * _CHANNEL_BYTES.get(image.mode, 4) // 4) * 4 + _ROW_POINTER
    picture_bytes = height * row_bytes
    codecs = {tile[0] for tile in getattr(image, "tile", ())}
    pixel_bytes = [_DECODER_BYTES.get(codec, _OTHER_DECODER_BYTES) for codec in codecs]
    decoder_bytes = width * height * max(pixel_bytes, default=_OTHER_DECODER_BYTES)
    if scans > 1:
        decoder_bytes += 2 * full_size[0] * full_size[1] * _samples_per_pixel(image)
    if image.format == "TIFF":
        if "libtiff" in codecs:
            decoder_bytes += _strip_bytes(image)
        if _is_turned(image):  # by its reader
            decoder_bytes += picture_bytes
    return picture_bytes + decoder_bytes


def _samples_per_pixel(jpeg: Any) -> int:
    """Samples of a JPEG for a pixel, rounded up: 3 with full colour, 2 where colour is at half resolution."""
    factors = [(across, down) for _, across, down, _ in getattr(jpeg, "layer", ())] or [(1, 1)] * 4
    largest = max(across for across, _ in factors) * max(down for _, down in factors)
    samples = sum(across * down for across, down in factors)
    return -(-samples // max(1, largest))


def _is_turned(tiff: Any) -> bool:
    return bool(tiff.tag_v2.get(_ORIENTATION, 1) != 1)


def _strip_bytes(tiff: Any) -> int:
    """The bytes of a decoded strip or tile of a TIFF, of which one is in memory beside the picture."""
    width, height = tiff.size
    try:
        tags = tiff.tag_v2
        bits = tags.get(_BITS, (8,))
        pixel = -(-max(bits) * max(len(bits), int(tags.get(_SAMPLES, 1))) // 8)
        if tags.get(_PHOTOMETRIC) == _YCBCR:
            pixel += 4  # libtiff makes such a strip RGBA
        if _TILE_WIDTH in tags:
            area = int(tags[_TILE_WIDTH]) * int(tags[_TILE_LENGTH])
        else:
            area = width * min(height, int(tags.get(_ROWS_PER_STRIP, height)))
    except (TypeError, ValueError, KeyError):  # odd tags: as much as it can be
        return 16 * width * height
    return area * pixel
