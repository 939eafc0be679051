"""Picture files decoded as a person sees them: upright, on paper, with 8 bits a channel."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable
from functools import partial
from typing import BinaryIO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from zsecli.arrays import Array
from zsecli.images.formats import count_scans, describe_other_format, is_jpeg, is_postscript
from zsecli.images.metadata import count_strips, read_orientation, strip_metadata, turn_upright
from zsecli.images.picture_errors import DamagedPicture, PictureError, describe_damage
from zsecli.images.tiles import WHOLE, Factors, find_factors, iterate_tiles, map_tiles

Result = TypeVar("Result")

MOST_STRIPS = 2**17  # of a TIFF; some have one for each row
LARGE = 2**25  # pixels; a larger picture is reduced to that by the mean of boxes
EVEN = 8  # grey levels from which on two tones differ
_UNLIMITED = 2**62  # pixels: reduces nothing
_MODES = {"1", "L", "P", "RGB", "CMYK", "YCbCr"}


class Opened(NamedTuple):
    """A picture of which only the header was read."""

    image: Image.Image
    scans: int  # of a JPEG; 1 for others


def read_opened(file: BinaryIO, use: Callable[[Opened], Result]) -> Result:
    """What `use` makes of the picture in `file`; where that fails, of the same picture without metadata.

    Raises:
        PictureError: it is no picture, or damaged, or the memory does not hold it; with the reason.
    """
    try:
        return _open_and_use(file, use)
    except DamagedPicture as error:
        reason = str(error)
    # not while the exception lives, whose traceback holds what was decoded
    bare = strip_metadata(file)
    if bare is not None:
        with contextlib.suppress(DamagedPicture):
            return _open_and_use(bare, use)
    raise DamagedPicture(reason)


def _open_and_use(file: BinaryIO, use: Callable[[Opened], Result]) -> Result:
    megapixels = 0
    try:
        picture = open_header(file)
        megapixels = picture.image.width * picture.image.height // 10**6
        return use(picture)
    except PictureError:
        raise
    except Exception as error:
        if not _lacks_memory(error):
            raise
        raise PictureError(f"{megapixels} megapixels, for which the memory does not suffice") from None


def _lacks_memory(error: Exception) -> bool:
    """Whether the system refused memory; PyTorch raises no MemoryError then."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def open_header(file: BinaryIO) -> Opened:
    """The picture in `file`, of which only the header is read; of a JPEG the scans are counted.

    As many pixels are allowed as Pillow reads with a warning, twice its MAX_IMAGE_PIXELS: phones take such photos.

    Raises:
        PictureError: it is no picture; with the reason.
    """
    file.seek(0)
    head = file.read(4096)
    file.seek(0)
    if not head:
        raise PictureError("empty")
    if is_postscript(head):
        raise PictureError("a PostScript drawing: export it as PNG")
    scans = 1
    if is_jpeg(head):
        scans = count_scans(file)
        file.seek(0)
    elif count_strips(file) > MOST_STRIPS:
        raise PictureError(f"a TIFF of more than {MOST_STRIPS} strips, too many for a real picture")
    try:
        image: Image.Image = Image.open(file)
    except UnidentifiedImageError:
        raise DamagedPicture(describe_other_format(head)) from None
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


def decode(data: bytes, most: int | None = None) -> Image.Image:
    """The picture in `data`, turned as its EXIF says and laid on white where it is transparent.

    Where that leaves nothing to be seen it is laid on black: white strokes on nothing. Of an animation the first
    picture is taken. A palette without transparency stays a palette. A picture of more than `most` pixels is reduced.
    Raises PictureError with the reason. Threads may decode at once, so it leaves the warnings of Pillow, which are
    about what it mends, to its caller: their filters are the process's. For files and within the budget of memory see
    `zsecli.images.loader`.
    """
    return read_opened(io.BytesIO(data), lambda picture: decode_opened(picture.image, most or _UNLIMITED))


def use_draft_mode(image: Image.Image, most: int = LARGE) -> None:
    """Have an opened JPEG of more than `most` pixels decoded at a half, a quarter or an eighth of its sides."""
    width, height = image.size
    scale = 8
    for divisor in (1, 2, 4):
        if -(-width // divisor) * -(-height // divisor) <= most:
            scale = divisor
            break
    if scale > 1:
        image.draft(None, (max(1, width // scale), max(1, height // scale)))


def decode_opened(image: Image.Image, most: int = LARGE) -> Image.Image:
    """An opened picture as `decode` describes it, of at most `most` pixels."""
    use_draft_mode(image, most)
    try:
        image.load()
        turn = read_orientation(image)
        simple = _simplify(image, find_factors(image.size, most))
        if simple is not image:
            Image.Image.close(image)  # frees its pixels; the file belongs to the caller
        return turn_upright(simple, turn)
    except MemoryError:
        raise
    except Exception as error:
        raise describe_damage(error) from None


def is_blank(image: Image.Image) -> bool:
    """Whether one colour fills the whole picture, up to 7 of 255 grey levels."""
    if _is_deep(image):
        image = _reduce_depth(image)
    elif image.has_transparency_data:
        return _is_blank_on(image, "white") and _is_blank_on(image, "black")
    return _is_even(_grey_range(tile) for *_, tile in iterate_tiles(image))


def _is_blank_on(image: Image.Image, paper: str) -> bool:
    return _is_even(_grey_range(_lay_on(tile, paper)) for *_, tile in iterate_tiles(image))


def _grey_range(image: Image.Image) -> tuple[float, float]:
    """The darkest and the brightest grey."""
    low, high = image.convert("L").getextrema()
    return low, high  # type: ignore[return-value]


def _is_even(ranges: Iterable[tuple[float, float]]) -> bool:
    """Whether the darkest and the brightest of all tiles are nearly the same grey."""
    lows, highs = zip(*ranges, strict=True)
    return max(highs) - min(lows) < EVEN


def _simplify(image: Image.Image, factors: Factors) -> Image.Image:
    """On white, or else on black, with 8 bits a channel, in a mode that every rule understands; reduced by factors.

    Of a picture that is reduced no copy is made at its full size.
    """
    if _is_deep(image):
        image = _reduce_depth(image)
    elif image.has_transparency_data:
        on_white, is_even = _lay_and_reduce(image, "white", factors)
        if not is_even:
            return on_white
        on_black, is_even = _lay_and_reduce(image, "black", factors)
        return on_white if is_even else on_black
    if factors != WHOLE:
        mode = {"1": "L", "P": "RGB"}.get(image.mode, image.mode)  # the mean of two indices is no colour
        if mode not in _MODES:
            mode = "RGB"
        return map_tiles(image, lambda tile: convert_mode(tile, mode), factors)
    if image.mode in _MODES:
        return image
    return map_tiles(image, lambda tile: tile.convert("RGB"))


def convert_mode(image: Image.Image, mode: str) -> Image.Image:
    """The picture in a mode of Pillow; itself where it has that mode."""
    return image if image.mode == mode else image.convert(mode)


def _lay_and_reduce(image: Image.Image, paper: str, factors: Factors) -> tuple[Image.Image, bool]:
    """A transparent picture on white or black, and whether nothing is to be seen there."""
    ranges: list[tuple[float, float]] = []

    def lay(tile: Image.Image) -> Image.Image:
        laid = _lay_on(tile, paper)
        ranges.append(_grey_range(laid))
        return laid

    return map_tiles(image, lay, factors), _is_even(ranges)


def _lay_on(image: Image.Image, paper: str) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, paper), image).convert("RGB")


def _is_deep(image: Image.Image) -> bool:
    """Whether it has more than 8 bits a channel."""
    return image.mode.startswith("I") or image.mode == "F"


def _reduce_depth(image: Image.Image) -> Image.Image:
    """Grey of 16 bits and more as 8 bits: Pillow would clip it. White is the range that holds the brightest pixel."""
    white = 65535.0
    if not image.mode.startswith("I;16"):
        brightest = max(float(_read_grey(tile).max()) for *_, tile in iterate_tiles(image))
        white = next((limit for limit in (1, 255, 65535) if brightest <= limit), brightest)
    return map_tiles(image, partial(_scale_grey, white=white))


def _read_grey(image: Image.Image) -> Array:
    """Grey values (H, W) of more than 8 bits, float32 where they have 16 bits, else float64; 0 for NaN."""
    values: Array = np.asarray(image, np.float32 if image.mode.startswith("I;16") else np.float64)
    np.nan_to_num(values, copy=False)
    return values


def _scale_grey(image: Image.Image, white: float) -> Image.Image:
    values = _read_grey(image)
    values[values == image.info.get("transparency")] = white
    values /= white
    np.clip(values, 0, 1, out=values)
    values *= 255
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8))
