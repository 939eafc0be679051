"""Pictures in: decoded as a person sees them, cut and sized as the model's preprocessing says."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from zsecli.data.geometry import Frame
from zsecli.data.ink import around, as_seen
from zsecli.data.preprocess import Preprocess, Role

Pixels = NDArray[np.uint8]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
EXPORTED = {".svg", ".heic", ".heif", ".avif", ".jxl", ".eps"}  # pictures that not every Pillow reads
_RESAMPLING = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
REVISION = 2  # counts up when a rule below gives other pixels: features made before are then made again
MARGIN = 10  # pixels left around the strokes by the authors' crop
SCANS = 100  # of a JPEG, as libtiff allows; encoders make up to 18, and each takes as long as the whole picture
LOOKED_AT = 2**28  # bytes of a JPEG in which scans are counted; one of 178 megapixels has fewer
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")  # in front of a segment, or the end
_POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")
_OTHERS = (  # where, what stands there, what it means
    (0, b"%PDF", "a PDF document: export its page as PNG"),
    *((4, b"ftyp" + brand, "a HEIC photo: save it as JPEG") for brand in (b"hei", b"hev", b"mif1", b"msf1")),
    (4, b"ftypavi", "an AVIF picture, which this Pillow does not read: save it as PNG"),
    (4, b"JXL ", "a JPEG XL picture: save it as PNG"),
    (0, b"\xff\x0a", "a JPEG XL picture: save it as PNG"),
)


class PictureError(Exception):
    """A file that cannot be used as a picture; the text is the reason."""


def by_name(files: Collection[Path]) -> set[Path]:
    """Those of `files` that are pictures by their names.

    An SVG drawing or a HEIC photo is one, so that it is read or listed with its reason, not passed over; but not beside
    a picture of the same name, which has been made of it.
    """
    found = {file for file in files if file.suffix.lower() in SUFFIXES}
    made = {file.with_suffix("") for file in found}
    return found | {f for f in files if f.suffix.lower() in EXPORTED and f.with_suffix("") not in made}


def opened(file: BinaryIO) -> Image.Image:
    """The picture in `file`, of which no more is read than says what it is, but for a JPEG, whose scans are counted.

    As many pixels are allowed as Pillow reads with a warning, twice its MAX_IMAGE_PIXELS: phones take such photos.

    Raises:
        PictureError: it is no picture; with the reason.
    """
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise PictureError("empty")
    if head.startswith(_POSTSCRIPT):  # Pillow would have another program run it
        raise PictureError("a PostScript drawing: export it as PNG")
    try:
        image: Image.Image = Image.open(file)
    except UnidentifiedImageError:
        raise PictureError(_other(head)) from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise PictureError(f"more than {most} megapixels, too many for a real picture") from None
    except Exception as error:
        raise damaged(error) from None
    if isinstance(image, ImageFile.StubImageFile):  # of a format that Pillow knows by name alone
        raise PictureError("not a picture")
    if head.startswith(b"\xff\xd8"):
        file.seek(0)
        _check_scans(file.read(LOOKED_AT))
    return image


def _check_scans(jpeg: bytes) -> None:
    """PictureError for a JPEG of so many scans that a small file takes minutes.

    It goes from marker to marker as libjpeg does: a thumbnail within a segment, or a video behind the end, has others.
    """
    scans = place = 0
    while (found := _MARKER.search(jpeg, place)) and found[1] != b"\xd9":
        scans += found[1] == b"\xda"
        if scans > SCANS:
            raise PictureError(f"a JPEG of more than {SCANS} scans, too many for a real picture")
        place = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])


def damaged(error: Exception) -> PictureError:
    """What a reader of Pillow raised, which may be nearly anything, in a reason."""
    return PictureError(f"damaged: {error or type(error).__name__}")


def _other(head: bytes) -> str:
    """What a file is that Pillow does not read, by its beginning, and what helps."""
    for start, mark, what in _OTHERS:
        if head.startswith(mark, start):
            return what
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture"
    if text.startswith(b"<") and b"<svg" in text:
        return "an SVG drawing: export it as PNG"
    return "not a picture"


def decode(data: bytes, *, at_least: int | None = None) -> Image.Image:
    """The picture in `data`, turned as its EXIF says and laid on white where it is transparent.

    Where that leaves nothing to be seen it is laid on black: white strokes on nothing. Of an animation the first
    picture is taken. A palette without transparency stays a palette. Raises PictureError with the reason. Threads may
    decode at once, so it leaves the warnings of Pillow, which are about what it mends, to its caller: their filters are
    the process's.

    Args:
        at_least: a long side in pixels that will do. A larger JPEG may then come out smaller, at a half, a quarter or
            an eighth of its size, which takes a fraction of the time and the memory.
    """
    image = opened(io.BytesIO(data))
    try:
        if at_least is not None:
            shrink = max(1, max(image.size) // at_least)
            image.draft(None, (image.width // shrink, image.height // shrink))
        image.load()
        return _plain(ImageOps.exif_transpose(image))
    except Exception as error:
        raise damaged(error) from None


def blank(image: Image.Image) -> bool:
    """Whether one colour fills the whole picture, up to 7 of 255 grey levels."""
    low, high = _plain(image).convert("L").getextrema()
    return bool(high - low < 8)  # type: ignore[operator]


def _plain(image: Image.Image) -> Image.Image:
    """On white, or else on black, with 8 bits a channel, in a mode that every rule understands."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if image.has_transparency_data:
        on_white = _laid(image, "white")
        on_black = _laid(image, "black") if blank(on_white) else None
        return on_white if on_black is None or blank(on_black) else on_black
    return image if image.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr") else image.convert("RGB")


def _laid(image: Image.Image, paper: str) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, paper), image).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits and more as 8 bits: Pillow would clip it. White is the range that holds the brightest pixel."""
    deep = image.mode.startswith("I;16")
    # changed in place, as it may be gigabytes
    values: NDArray[Any] = np.asarray(image, np.float32 if deep else np.float64)
    np.nan_to_num(values, copy=False)
    brightest = float(values.max())
    white = 65535 if deep else next((w for w in (1, 255, 65535) if brightest <= w), brightest)
    values[values == image.info.get("transparency")] = white
    values /= white
    np.clip(values, 0, 1, out=values)
    values *= 255
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def prepare(image: Image.Image, role: Role, preprocess: Preprocess) -> Pixels:
    """A decoded picture of one role -> the network's input as uint8 (size, size, 3)."""
    return framed(as_seen(image, role, preprocess)[0], role, preprocess)[0]


def framed(image: Image.Image, role: Role, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """The network's input of a picture `as_seen`, and which part of the picture it shows."""
    rule = preprocess.sketch if role == "sketch" else preprocess.photo
    return _RULES[rule, role](image, preprocess)


def _whole(image: Image.Image, preprocess: Preprocess) -> Frame:
    return Frame(0, 0, image.width / preprocess.size, image.height / preprocess.size)


def _resize(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    side = (preprocess.size, preprocess.size)
    resized = image.convert("RGB").resize(side, _RESAMPLING[preprocess.interpolation])
    return np.asarray(resized), _whole(image, preprocess)


def _crop(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """Cut to the strokes with a margin of 4 %, keep the aspect, pad with the paper's colour."""
    image = image.convert("RGB")
    grey = np.asarray(image.convert("L"))
    left = top = 0
    if box := around(grey):  # else nothing stands out: the whole picture is the sketch
        left, top, right, bottom = box
        margin = round(0.04 * (max(right - left, bottom - top) - 1))
        left, top = max(0, left - margin), max(0, top - margin)
        image = image.crop((left, top, min(image.width, right + margin), min(image.height, bottom + margin)))
    size = preprocess.size
    resized = ImageOps.contain(image, (size, size), _RESAMPLING[preprocess.interpolation])
    square = Image.new("RGB", (size, size), (int(np.percentile(grey, 95)),) * 3)
    across, down = image.width / max(1, resized.width), image.height / max(1, resized.height)
    x, y = round((size - resized.width) / 2), round((size - resized.height) / 2)
    square.paste(resized, (x, y))
    return np.asarray(square), Frame(left - x * across, top - y * down, across, down)


def _released_sketch(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """The authors' sketch input: dark pixels (R + G + B <= 300), 10 px around them, long side to `size`.

    OpenCV's INTER_LINEAR there is PyTorch's bilinear without antialias here, to one grey level. Two
    faults are mended: a sketch without a dark pixel is taken whole, and no side becomes 0.
    """
    import torch
    from torch.nn import functional as F

    pixels = np.asarray(image.convert("RGB"))
    rows, columns = np.nonzero(pixels.sum(2, dtype=np.int32) <= 300)
    up = over = 0
    if len(rows):
        # the far side stops one short of symmetry, as theirs does
        up, over = max(0, int(rows.min()) - MARGIN), max(0, int(columns.min()) - MARGIN)
        pixels = pixels[up : rows.max() + MARGIN, over : columns.max() + MARGIN]
    height, width = pixels.shape[:2]
    size, longest = preprocess.size, max(height, width)
    shape = max(1, height * size // longest), max(1, width * size // longest)
    values = torch.from_numpy(np.array(pixels, np.float32)).permute(2, 0, 1).unsqueeze(0)
    values = F.interpolate(values, size=shape, mode="bilinear", align_corners=False, antialias=False)
    resized = values.round().clamp(0, 255).squeeze(0).permute(1, 2, 0).numpy().astype(np.uint8)
    square = np.full((size, size, 3), resized.max(), np.uint8)
    top, left = (size - shape[0]) // 2, (size - shape[1]) // 2
    square[top : top + shape[0], left : left + shape[1]] = resized
    across, down = width / shape[1], height / shape[0]
    return square, Frame(over - left * across, up - top * down, across, down)


def _released_photo(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """The authors' photo input: resized in the file's own mode, then made RGB."""
    resized = image.resize((preprocess.size, preprocess.size)).convert("RGB")
    return np.asarray(resized), _whole(image, preprocess)


_RULES: dict[tuple[str, str], Callable[[Image.Image, Preprocess], tuple[Pixels, Frame]]] = {
    ("resize", "sketch"): _resize,
    ("resize", "photo"): _resize,
    ("crop", "sketch"): _crop,
    ("released", "sketch"): _released_sketch,
    ("released", "photo"): _released_photo,
}
