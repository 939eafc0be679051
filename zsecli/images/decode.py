"""Pictures in: decoded as a person sees them, cut and sized as the model's preprocessing says."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, BinaryIO, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from zsecli.images.geometry import Frame
from zsecli.images.metadata import count_strips, read_orientation, strip_metadata, turn_upright
from zsecli.images.normalize_sketch import find_stroke_box, normalize_picture
from zsecli.images.preprocess_rules import Modality, Preprocess
from zsecli.images.tiles import WHOLE, Factors, find_factors, iterate_tiles, map_tiles

Pixels = NDArray[np.uint8]
Result = TypeVar("Result")

SUFFIXES = {  # of pictures that Pillow reads; others it knows are known by their content (zsecli.data.folder_walk)
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".bmp", ".dib", ".gif", ".tif", ".tiff"),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga"),
}
EXPORTED = {".svg", ".heic", ".heif", ".avif", ".jxl", ".eps"}  # pictures that not every Pillow reads
_RESAMPLING = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_ALL = 2**62  # pixels: reduces nothing
_MODES = {"1", "L", "P", "RGB", "CMYK", "YCbCr"}
REVISION = 2  # counts up when a rule below gives other pixels: features made before are then made again
MARGIN = 10  # pixels left around the strokes by the authors' crop
SCANS = 100  # of a JPEG, as libtiff allows; encoders make up to 18, and each takes as long as the whole picture
SEGMENTS = 2**14  # of a JPEG: a colour profile has up to 255
STRIPS = 2**17  # of a TIFF; some have one for each row
LOOKED_AT = 2**28  # bytes of a JPEG in which scans are counted; one of 178 megapixels has fewer
PIECE = 2**20  # bytes of it that are looked at together
LARGE = 2**25  # pixels; of a picture with more the mean of boxes is taken, so that it has no more
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


class DamagedPicture(PictureError):
    """A file of a format that Pillow reads, which it cannot read."""


class Opened(NamedTuple):
    """A picture of which only the header was read; `scans` of a JPEG, 1 for others."""

    image: Image.Image
    scans: int


def read_opened(file: BinaryIO, use: Callable[[Opened], Result]) -> Result:
    """What `use` makes of the picture in `file`; where that fails, of the same picture without metadata.

    Raises:
        PictureError: it is no picture, or damaged, or the memory does not hold it; with the reason.
    """
    try:
        return _use(file, use)
    except DamagedPicture as error:
        reason = str(error)
    # not while the exception lives, whose traceback holds what was decoded
    bare = strip_metadata(file)
    if bare is not None:
        with contextlib.suppress(DamagedPicture):
            return _use(bare, use)
    raise DamagedPicture(reason)


def _use(file: BinaryIO, use: Callable[[Opened], Result]) -> Result:
    megapixels = 0
    try:
        picture = open_header(file)
        megapixels = picture.image.width * picture.image.height // 10**6
        return use(picture)
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{megapixels} megapixels, for which the memory does not suffice") from None
    except Exception as error:
        if _lacks_memory(error):
            raise PictureError(f"{megapixels} megapixels, for which the memory does not suffice") from None
        raise


def _lacks_memory(error: Exception) -> bool:
    """Whether it is PyTorch's for memory that the system refuses, which is no MemoryError."""
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def open_header(file: BinaryIO) -> Opened:
    """The picture in `file`, of which no more is read than says what it is, but for a JPEG, whose scans are counted.

    As many pixels are allowed as Pillow reads with a warning, twice its MAX_IMAGE_PIXELS: phones take such photos.

    Raises:
        PictureError: it is no picture; with the reason.
    """
    file.seek(0)
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise PictureError("empty")
    if head.startswith(_POSTSCRIPT):  # Pillow would have another program run it
        raise PictureError("a PostScript drawing: export it as PNG")
    scans = 1
    if head.startswith(b"\xff\xd8"):
        scans = _count_scans(file)
        file.seek(0)
    elif count_strips(file) > STRIPS:
        raise PictureError(f"a TIFF of more than {STRIPS} strips, too many for a real picture")
    try:
        image: Image.Image = Image.open(file)
    except UnidentifiedImageError:
        raise DamagedPicture(_other(head)) from None
    except Image.DecompressionBombError:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise PictureError(f"more than {most} megapixels, too many for a real picture") from None
    except MemoryError:
        raise
    except Exception as error:
        raise describe_damage(error) from None
    if isinstance(image, ImageFile.StubImageFile):  # of a format that Pillow knows by name alone
        raise PictureError("not a picture")
    return Opened(image, scans)


def _count_scans(jpeg: BinaryIO) -> int:
    """The scans of a JPEG; PictureError for so many, or so many segments, that a small file takes minutes.

    It goes from marker to marker as libjpeg does: a thumbnail within a segment, or a video behind the end, has others.
    """
    scans = segments = place = 0
    data = b""
    for _ in range(LOOKED_AT // PIECE):
        piece = jpeg.read(PIECE)
        if not piece:
            break
        data, place = data[place:] + piece, max(0, place - len(data))
        while (found := _MARKER.search(data, place)) and len(data) >= found.end() + 2:
            if found[1] == b"\xd9":
                return scans
            scans += found[1] == b"\xda"
            segments += 1
            if scans > SCANS:
                raise PictureError(f"a JPEG of more than {SCANS} scans, too many for a real picture")
            if segments > SEGMENTS:
                raise PictureError(f"a JPEG of more than {SEGMENTS} segments, too many for a real picture")
            place = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
        place = found.start() if found else max(place, len(data) - 1)  # a marker may lie across two pieces
    return scans


def describe_damage(error: Exception) -> DamagedPicture:
    """What a reader of Pillow raised, which may be nearly anything, in a reason."""
    return DamagedPicture(f"damaged: {error or type(error).__name__}")


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


def decode(data: bytes, most: int | None = None) -> Image.Image:
    """The picture in `data`, turned as its EXIF says and laid on white where it is transparent.

    Where that leaves nothing to be seen it is laid on black: white strokes on nothing. Of an animation the first
    picture is taken. A palette without transparency stays a palette. A picture of more than `most` pixels is reduced.
    Raises PictureError with the reason. Threads may decode at once, so it leaves the warnings of Pillow, which are
    about what it mends, to its caller: their filters are the process's. For files and within the budget of memory see
    `zsecli.images.loader`.
    """
    return read_opened(io.BytesIO(data), lambda picture: decode_opened(picture.image, most or _ALL))


def use_draft_mode(image: Image.Image, most: int = LARGE) -> None:
    """Have an opened JPEG of more than `most` pixels decoded at a half, a quarter or an eighth of its sides."""
    width, height = image.size
    scale = next((s for s in (1, 2, 4) if -(-width // s) * -(-height // s) <= most), 8)
    if scale > 1:
        image.draft(None, (max(1, width // scale), max(1, height // scale)))


def decode_opened(image: Image.Image, most: int = LARGE) -> Image.Image:
    """An opened picture as `decode` describes it, of at most `most` pixels."""
    use_draft_mode(image, most)
    try:
        image.load()
        turn = read_orientation(image)
        plain = _plain(image, find_factors(image.size, most))
        if plain is not image:
            Image.Image.close(image)  # its pixels alone: the file is its owner's
        return turn_upright(plain, turn)
    except MemoryError:
        raise
    except Exception as error:
        raise describe_damage(error) from None


def is_blank(image: Image.Image) -> bool:
    """Whether one colour fills the whole picture, up to 7 of 255 grey levels."""
    if _is_deep(image):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        return all(
            _is_even(_extrema(_laid(tile, paper)) for *_, tile in iterate_tiles(image)) for paper in ("white", "black")
        )
    return _is_even(_extrema(tile) for *_, tile in iterate_tiles(image))


def _extrema(image: Image.Image) -> tuple[float, float]:
    low, high = image.convert("L").getextrema()
    return low, high  # type: ignore[return-value]


def _is_even(extrema: Iterable[tuple[float, float]]) -> bool:
    """Whether the darkest and the brightest of all tiles are nearly the same grey."""
    lows, highs = zip(*extrema, strict=True)
    return max(highs) - min(lows) < 8


def _plain(image: Image.Image, factors: Factors) -> Image.Image:
    """On white, or else on black, with 8 bits a channel, in a mode that every rule understands; reduced by factors.

    Of a picture that is reduced no copy is made at its full size.
    """
    if _is_deep(image):
        image = _eight_bits(image)
    elif image.has_transparency_data:
        on_white, even = _on_paper(image, "white", factors)
        on_black, nothing = _on_paper(image, "black", factors) if even else (on_white, True)
        return on_white if nothing else on_black
    if factors != WHOLE:
        mode = {"1": "L", "P": "RGB"}.get(image.mode, image.mode)  # the mean of two indices is no colour
        return map_tiles(image, lambda tile: _in_mode(tile, mode if mode in _MODES else "RGB"), factors)
    return image if image.mode in _MODES else map_tiles(image, lambda tile: tile.convert("RGB"))


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _on_paper(image: Image.Image, paper: str, factors: Factors) -> tuple[Image.Image, bool]:
    """A transparent picture on white or black, and whether nothing is to be seen there."""
    extrema: list[tuple[float, float]] = []

    def lay(tile: Image.Image) -> Image.Image:
        laid = _laid(tile, paper)
        extrema.append(_extrema(laid))
        return laid

    return map_tiles(image, lay, factors), _is_even(extrema)


def _laid(image: Image.Image, paper: str) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, paper), image).convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits and more as 8 bits: Pillow would clip it. White is the range that holds the brightest pixel."""
    white = 65535.0
    if not image.mode.startswith("I;16"):
        brightest = max(float(_values(tile).max()) for *_, tile in iterate_tiles(image))
        white = next((w for w in (1, 255, 65535) if brightest <= w), brightest)
    return map_tiles(image, partial(_as_grey, white=white))


def _values(image: Image.Image) -> NDArray[Any]:
    """Grey values (H, W) of more than 8 bits, float32 where they have 16 bits, else float64; 0 for NaN."""
    values: NDArray[Any] = np.asarray(image, np.float32 if image.mode.startswith("I;16") else np.float64)
    np.nan_to_num(values, copy=False)
    return values


def _as_grey(image: Image.Image, white: float) -> Image.Image:
    values = _values(image)
    values[values == image.info.get("transparency")] = white
    values /= white
    np.clip(values, 0, 1, out=values)
    values *= 255
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))


def make_input(image: Image.Image, modality: Modality, preprocess: Preprocess) -> Pixels:
    """A decoded picture of one modality -> the network's input as uint8 (size, size, 3)."""
    return frame_input(normalize_picture(image, modality, preprocess)[0], modality, preprocess)[0]


def frame_input(image: Image.Image, modality: Modality, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """The network's input of a picture as `normalize_picture` returns it, and which part of the picture it shows."""
    rule = preprocess.sketch if modality == "sketch" else preprocess.photo
    return _RULES[rule, modality](image, preprocess)


def _whole(image: Image.Image, preprocess: Preprocess) -> Frame:
    return Frame(0, 0, image.width / preprocess.size, image.height / preprocess.size)


def _resize(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    side = (preprocess.size, preprocess.size)
    resized = _in_mode(image, "RGB").resize(side, _RESAMPLING[preprocess.interpolation])
    return np.asarray(resized), _whole(image, preprocess)


def _crop(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """Cut to the strokes with a margin of 4 %, keep the aspect, pad with the paper's colour."""
    image = _in_mode(image, "RGB")
    grey = np.asarray(image.convert("L"))
    left = top = 0
    if box := find_stroke_box(grey):  # else nothing stands out: the whole picture is the sketch
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

    pixels = np.asarray(_in_mode(image, "RGB"))
    dark = np.empty(pixels.shape[:2], bool)
    for row, is_dark in zip(pixels, dark, strict=True):  # row by row: the sums of a large picture are larger than it
        np.less_equal(row.sum(1, dtype=np.int32), 300, out=is_dark)
    rows, columns = np.flatnonzero(dark.any(1)), np.flatnonzero(dark.any(0))
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
