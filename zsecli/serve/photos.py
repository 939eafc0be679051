"""Photos for the page: read from the file that was embedded or not at all, made small, and stripped of metadata."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import threading
from collections import OrderedDict
from dataclasses import dataclass

from PIL import Image

from zsecli.images.decode import LARGE, decode
from zsecli.images.metadata import read_orientation
from zsecli.images.picture_errors import PictureError
from zsecli.serve.gallery import Gallery

MIN_SIDE, MAX_SIDE = 16, 2048  # pixels of the long side of a thumbnail
MAX_FILE_BYTES = 2**30
CHECKED_FILES = 4096  # whose state at their last comparison is remembered
QUALITY = 88


class PhotoGone(Exception):
    """The file of a photo is not what was embedded; the text is what happened to it."""


@dataclass(frozen=True)
class CheckedFile:
    """A file whose content was compared with what was embedded."""

    stamp: tuple[int, ...]
    """Its `os.stat` at that time."""
    size: tuple[int, int]
    """Width and height of the photo as shown."""


class Photos:
    """Reads the photos of a gallery by row, from several threads."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self._checked: OrderedDict[int, CheckedFile] = OrderedDict()
        self._lock = threading.Lock()

    def is_same(self, row: int) -> bool:
        """Whether the file has been compared before and was not touched since. Nothing is read."""
        with self._lock:
            seen = self._checked.get(row)
        try:
            return seen is not None and seen.stamp == _stamp(os.stat(self.gallery.files[row]))
        except OSError:
            return False

    def read(self, row: int) -> bytes:
        """The bytes that were embedded.

        Raises:
            PhotoGone: the file is gone, holds something else, or has become a link since.
        """
        status, data = self._open(row)
        self._remember(row, status, data)
        return data

    def _open(self, row: int) -> tuple[os.stat_result, bytes]:
        file = self.gallery.files[row]
        try:
            link = os.lstat(file)
            if stat.S_ISLNK(link.st_mode) and link.st_ctime_ns > self.gallery.made_ns:
                raise PhotoGone("has become a link since it was embedded")
            # opening a FIFO would block
            with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
                status = os.fstat(opened.fileno())
                if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
                    raise PhotoGone("is no longer a picture")
                data = opened.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise PhotoGone(error.strerror or "cannot be read") from None
        if hashlib.sha256(data).digest() != self.gallery.features.items.sha256[row].tobytes():
            raise PhotoGone("has changed since it was embedded")
        return status, data

    def image(self, row: int) -> Image.Image:
        """The decoded photo, of its own size up to LARGE pixels. Raises PhotoGone."""
        return decode(self.read(row), LARGE)

    def thumbnail(self, row: int, side: int) -> bytes:
        """The photo as a JPEG whose long side is at most `side` pixels. Raises PhotoGone."""
        side = min(max(side, MIN_SIDE), MAX_SIDE)
        try:
            image = decode(self.read(row), (2 * side) ** 2)
        except PictureError as error:
            raise PhotoGone(str(error)) from None
        small = image.convert("RGB")
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
        file = io.BytesIO()
        # a new picture: what the file says beside its pixels (place, time, camera) stays where it is
        Image.frombytes("RGB", small.size, small.tobytes()).save(file, "JPEG", quality=QUALITY, subsampling=0)
        return file.getvalue()

    def size(self, row: int) -> tuple[int, int]:
        """Width and height as shown, in pixels. Raises PhotoGone."""
        with self._lock:
            seen = self._checked.get(row)
        if seen is None or not self.is_same(row):
            seen = self._remember(row, *self._open(row))
        return seen.size

    def etag(self, row: int, side: int) -> str:
        """Names the photo's content in this size."""
        return f'"{self.gallery.features.items.sha256[row].tobytes().hex()[:24]}-{side}"'

    def _remember(self, row: int, status: os.stat_result, data: bytes) -> CheckedFile:
        try:
            with Image.open(io.BytesIO(data)) as image:
                size = image.size
                if read_orientation(image) >= 5:  # the orientations that swap width and height
                    size = image.size[::-1]
        except Exception:  # what Pillow raises for a damaged picture may be nearly anything
            raise PhotoGone("is no longer a picture that can be read") from None
        seen = CheckedFile(_stamp(status), size)
        with self._lock:
            self._checked[row] = seen
            self._checked.move_to_end(row)
            while len(self._checked) > CHECKED_FILES:
                self._checked.popitem(last=False)
        return seen


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
