"""The one reader of picture files: hashed, decoded, turned, cleaned and cut, within the budget of memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from PIL import Image

from zsecli.images.decode import (
    LARGE,
    Opened,
    PictureError,
    Pixels,
    decode_opened,
    frame_input,
    is_blank,
    read_opened,
    use_draft_mode,
)
from zsecli.images.geometry import Frame
from zsecli.images.memory import MEMORY, MemoryBudget, estimate_decoding_bytes
from zsecli.images.normalize_sketch import Change, normalize_picture
from zsecli.images.preprocess_rules import Modality, Preprocess

SMALL = 2**20  # bytes of a file that are read at once; a larger one is read bit by bit, as its decoder wants it
# Bytes for a pixel of the decoded picture that it takes to make the network's input of it.
_PHOTO_BYTES, _SKETCH_BYTES = 4, 16
Result = TypeVar("Result")


class ContentChanged(Exception):
    """A file that no longer has the content that was listed."""


class Loaded(NamedTuple):
    """A picture as the network sees it.

    image: as decoded, and changed as `changes` says. pixels: (S, S, 3) uint8, the network's input. frame: the part of
    `image` that the input shows.
    """

    image: Image.Image
    pixels: Pixels
    frame: Frame
    changes: tuple[Change, ...]


def frame_picture(image: Image.Image, modality: Modality, preprocess: Preprocess) -> Loaded:
    """A decoded picture as the network sees it."""
    image, changes = normalize_picture(image, modality, preprocess)
    return Loaded(image, *frame_input(image, modality, preprocess), changes)


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
        memory: what is waited for.

    Raises:
        PictureError: it is no picture, or too large; with the reason. ContentChanged. OSError: it cannot be read.
    """
    work = _SKETCH_BYTES if modality == "sketch" else _PHOTO_BYTES

    def load(picture: Opened) -> Loaded:
        with _room(picture, LARGE, work, memory):
            image, changes = normalize_picture(decode_opened(picture.image), modality, preprocess)
            if reject_blank and is_blank(image):
                raise PictureError("blank: nothing is drawn")
            return Loaded(image, *frame_input(image, modality, preprocess), changes)

    return _read(file, load, sha256)


def load_picture(
    file: Path, most: int = LARGE, *, sha256: bytes | None = None, memory: MemoryBudget = MEMORY
) -> Image.Image:
    """A picture from its file as `zsecli.images.decode.decode` describes it, of at most `most` pixels.

    Args:
        sha256: what the content must have; None: any will do.

    Raises:
        PictureError: it is no picture, or too large; with the reason. ContentChanged. OSError: it cannot be read.
    """

    def load(picture: Opened) -> Image.Image:
        with _room(picture, most, _PHOTO_BYTES, memory):
            return decode_opened(picture.image, most)

    return _read(file, load, sha256)


def read_full_size(file: Path, image: Image.Image) -> tuple[int, int]:
    """Width and height of the picture in a file, of which `image` is what `load_picture` made, reduced or not.

    Raises:
        PictureError, OSError: as `load_picture`.
    """
    width, height = _read(file, lambda picture: picture.image.size, None)
    is_turned = (width - height) * (image.width - image.height) < 0
    return (height, width) if is_turned else (width, height)


@contextlib.contextmanager
def reserve_memory(
    picture: Opened, full_size: tuple[int, int], memory: MemoryBudget = MEMORY, more: int = 0
) -> Iterator[None]:
    """Wait for the room that decoding an opened picture takes, and keep it.

    Args:
        full_size: of the picture, which draft mode may have made smaller.
        more: bytes beside it, which may be more than there are.

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


def _read(file: Path, use: Callable[[Opened], Result], sha256: bytes | None) -> Result:
    """What `use` makes of the picture in a file whose content must be the one with this hash."""
    with open_picture(file) as opened:
        before = _state(opened)
        digest = hashlib.file_digest(opened, "sha256").digest() if sha256 else None  # type: ignore[arg-type]
        if digest != sha256:
            raise ContentChanged
        result = read_opened(opened, use)
        if sha256 is not None and _state(opened) != before:
            raise ContentChanged
        return result


def _state(file: BinaryIO) -> tuple[int, int] | None:
    """Size and time of a file; None for what is in memory, which nobody changes."""
    if isinstance(file, io.BytesIO):
        return None
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns


@contextlib.contextmanager
def _room(picture: Opened, most: int, work: int, memory: MemoryBudget) -> Iterator[None]:
    full_size = picture.image.size
    use_draft_mode(picture.image, most)
    left = min(most, picture.image.width * picture.image.height)
    with reserve_memory(picture, full_size, memory, work * left):
        yield
