"""The memory that decoding pictures may take, over all threads: a large picture waits until there is room for it."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image

BUDGET = 2**30  # bytes of decoded pictures at once: with PyTorch, a command stays below 2 GiB
LARGE = 2**28  # bytes of a picture whose memory is returned at once: that takes milliseconds
_CHANNEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}  # all other modes: 4
_POINTER = 8  # bytes, of a row
# What a decoder holds beside the picture, in bytes a pixel: these go through it row by row, GIF has one more canvas.
_BESIDE = {"raw": 0, "zip": 0, "jpeg": 0, "libtiff": 0, "packbits": 0, "tga_rle": 0, "sun_rle": 0, "pcx": 0, "gif": 1}
_BESIDE_OTHERS = 16  # measured: WebP 12, AVIF 8, JPEG 2000 16
_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH, _BITS, _SAMPLES, _ORIENTATION = 278, 322, 323, 258, 277, 274  # of TIFF
_PHOTOMETRIC, _YCBCR = 262, 6


class MemoryBudget:
    """Room for `total` bytes, shared by the threads of this process, or by those of all its worker processes.

    Args:
        shared: for worker processes that are started after this; a lock of the operating system is held for them.
    """

    def __init__(self, total: int = BUDGET, shared: bool = False) -> None:
        self.total = total
        self._changed: Any = multiprocessing.Condition() if shared else threading.Condition()
        self._used: Any = multiprocessing.RawValue("q", 0) if shared else _Value()

    @contextlib.contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Wait for room of `size` bytes and keep it; what is larger than the whole budget waits until it is alone.

        Not to be called by a thread that holds room already: two of them would wait for each other.
        """
        size = min(size, self.total)
        with self._changed:
            self._changed.wait_for(lambda: self._used.value + size <= self.total)
            self._used.value += size
        try:
            yield
        finally:
            if size > LARGE:
                _give_back()
            with self._changed:
                self._used.value -= size
                self._changed.notify_all()


def _give_back() -> None:
    """Have the C library return what is free to the system: it keeps some for each thread, up to hundreds of MiB."""
    with contextlib.suppress(OSError, AttributeError):  # other libraries have no such function, or do so anyway
        ctypes.CDLL(None).malloc_trim(0)


class _Value:
    """What multiprocessing.RawValue is between processes."""

    value = 0


MEMORY = MemoryBudget()  # of this process


def estimate_decoding_bytes(image: Image.Image, scans: int, full_size: tuple[int, int]) -> int:
    """The bytes that it takes to decode a picture of which only the header was read.

    Args:
        image: opened; in draft mode if it is going to be decoded so.
        scans: of a JPEG; where there are several its decoder holds all coefficients of the `full_size` picture.
        full_size: width and height without draft mode.
    """
    width, height = image.size
    row = -(-width * _CHANNEL_BYTES.get(image.mode, 4) // 4) * 4 + _POINTER
    codecs = {tile[0] for tile in getattr(image, "tile", ())}
    beside = width * height * max((_BESIDE.get(codec, _BESIDE_OTHERS) for codec in codecs), default=_BESIDE_OTHERS)
    if scans > 1:
        beside += 2 * full_size[0] * full_size[1] * _samples(image)
    if image.format == "TIFF":
        beside += _strip_bytes(image) * ("libtiff" in codecs)
        beside += height * row * _is_turned(image)  # by its reader
    return height * row + beside


def _samples(jpeg: Any) -> int:
    """How many samples a JPEG has for a pixel, rounded up: 3 with full colour, 2 where colour is at half resolution."""
    factors = [(across, down) for _, across, down, _ in getattr(jpeg, "layer", ())] or [(1, 1)] * 4
    largest = max(across for across, _ in factors) * max(down for _, down in factors)
    return -(-sum(across * down for across, down in factors) // max(1, largest))


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
