"""The one reader of picture files: verified, decoded, turned, normalized and cut, within a budget of memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from PIL import Image

from zsecli.arrays import Pixels
from zsecli.images.decode import LARGE, Opened, decode_opened, is_blank, read_opened, use_draft_mode
from zsecli.images.geometry import Frame
from zsecli.images.memory import MEMORY, MemoryBudget, estimate_decoding_bytes
from zsecli.images.normalize_sketch import Change, normalize_picture
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess import frame_input
from zsecli.images.preprocess_rules import Modality, Preprocess

SMALL = 2**20  # bytes of a file that is read at once; a larger one is read bit by bit, as its decoder wants it
# Bytes a pixel of the decoded picture that it takes to make the network's input of it.
_PHOTO_BYTES = 4
_SKETCH_BYTES = 16
Result = TypeVar("Result")


class ContentChanged(Exception):
    """A file that no longer has the content that was listed."""


class Loaded(NamedTuple):
    """A picture as the network sees it."""

    image: Image.Image  # as decoded, and changed as `changes` says
    pixels: Pixels  # (S, S, 3), the network's input
    frame: Frame  # the part of `image` that the input shows
    changes: tuple[Change, ...]


def frame_picture(image: Image.Image, modality: Modality, preprocess: Preprocess) -> Loaded:
    """A decoded picture as the network sees it."""
    normalized, changes = normalize_picture(image, modality, preprocess)
    pixels, frame = frame_input(normalized, modality, preprocess)
    return Loaded(normalized, pixels, frame, changes)


def load_input(
    file: Path,
    modality: Modality,
    preprocess: Preprocess,
    *,
    sha256: bytes | None = None,
    reject_blank: bool = False,
    memory: MemoryBudget = MEMORY,
) -> Loaded:
    """A picture from its file as the network sees it.

    Args:
        sha256: what the content must have; None: any will do.
        reject_blank: a picture in which nothing is drawn cannot be used.
        memory: decoding waits for room in it.

    Raises:
        PictureError: it is no picture, or too large; with the reason.
        ContentChanged: its content has another hash.
        OSError: it cannot be read.
    """
    work = _SKETCH_BYTES if modality == "sketch" else _PHOTO_BYTES

    def load(picture: Opened) -> Loaded:
        with _reserve_decoding(picture, LARGE, work, memory):
            image, changes = normalize_picture(decode_opened(picture.image), modality, preprocess)
            if reject_blank and is_blank(image):
                raise PictureError("blank: nothing is drawn")
            pixels, frame = frame_input(image, modality, preprocess)
            return Loaded(image, pixels, frame, changes)

    return _read_verified(file, load, sha256)


def load_picture(
    file: Path, most: int = LARGE, *, sha256: bytes | None = None, memory: MemoryBudget = MEMORY
) -> Image.Image:
    """A picture from its file as `zsecli.images.decode.decode` describes it, of at most `most` pixels.

    Args:
        sha256: what the content must have; None: any will do.

    Raises:
        PictureError: it is no picture, or too large; with the reason.
        ContentChanged: its content has another hash.
        OSError: it cannot be read.
    """

    def load(picture: Opened) -> Image.Image:
        with _reserve_decoding(picture, most, _PHOTO_BYTES, memory):
            return decode_opened(picture.image, most)

    return _read_verified(file, load, sha256)


def read_full_size(file: Path, image: Image.Image) -> tuple[int, int]:
    """Width and height of the picture in a file, from which `load_picture` made `image`, reduced or not.

    Raises:
        PictureError, OSError: as `load_picture`.
    """
    width, height = _read_verified(file, lambda picture: picture.image.size, None)
    is_turned = (width - height) * (image.width - image.height) < 0
    return (height, width) if is_turned else (width, height)


@contextlib.contextmanager
def reserve_memory(
    picture: Opened, full_size: tuple[int, int], memory: MemoryBudget = MEMORY, more: int = 0
) -> Iterator[None]:
    """Wait for the memory that decoding an opened picture takes, and hold it.

    Args:
        full_size: of the picture, which draft mode may have made smaller.
        more: bytes beside it, which may exceed the budget.

    Raises:
        PictureError: it takes more than there is.
    """
    size = estimate_decoding_bytes(picture.image, picture.scans, full_size)
    if size > memory.total:
        raise PictureError(
            f"takes {size / 2**30:.1f} GiB of memory to be read, more than {memory.total / 2**30:.0f} GiB: "
            "save it smaller, or as PNG"
        )
    with memory.hold(size + more):
        yield


@contextlib.contextmanager
def open_picture(file: Path) -> Iterator[BinaryIO]:
    """A file opened for reading; a small one is in memory already."""
    if file.stat().st_size <= SMALL:
        yield io.BytesIO(file.read_bytes())
        return
    with file.open("rb") as opened:
        yield opened


def _read_verified(file: Path, use: Callable[[Opened], Result], sha256: bytes | None) -> Result:
    """What `use` makes of the picture in a file, whose content must have this hash if one is given."""
    with open_picture(file) as opened:
        state_before = _state_of(opened)
        digest = hashlib.file_digest(opened, "sha256").digest() if sha256 else None  # type: ignore[arg-type]
        if digest != sha256:
            raise ContentChanged
        result = read_opened(opened, use)
        if sha256 is not None and _state_of(opened) != state_before:
            raise ContentChanged
        return result


def _state_of(file: BinaryIO) -> tuple[int, int] | None:
    """Size and time of a file; None for what is in memory, which nobody changes."""
    if isinstance(file, io.BytesIO):
        return None
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns


@contextlib.contextmanager
def _reserve_decoding(picture: Opened, most: int, work: int, memory: MemoryBudget) -> Iterator[None]:
    """Hold the memory of decoding a picture to at most `most` pixels, and of `work` bytes for each of them."""
    full_size = picture.image.size
    use_draft_mode(picture.image, most)
    pixels = min(most, picture.image.width * picture.image.height)
    with reserve_memory(picture, full_size, memory, work * pixels):
        yield
