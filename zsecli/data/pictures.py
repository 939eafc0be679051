"""Pictures in: decoded as a person sees them, cut and sized as the model's preprocessing says."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from zsecli.data.geometry import Frame
from zsecli.data.preprocess import Preprocess, Role

Pixels = NDArray[np.uint8]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_RESAMPLING = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
REVISION = 1  # counts up when a rule below gives other pixels: features made before are then made again
MARGIN = 10  # pixels left around the strokes by the authors' crop


class PictureError(Exception):
    """A file that cannot be used as a picture; the text is the reason."""


def decode(data: bytes) -> Image.Image:
    """The picture in `data`, turned as its EXIF says and laid on white where it is transparent.

    A palette without transparency stays a palette. Raises PictureError with the reason. Threads may decode at once,
    so it leaves the warnings of Pillow, which are about what it mends, to its caller: their filters are the process's.
    """
    if not data:
        raise PictureError("the file is empty")
    try:
        image: Image.Image = Image.open(io.BytesIO(data))
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise Image.DecompressionBombError
        image.load()
        return _plain(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise PictureError("not a picture that Pillow reads") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError("too many pixels to be a real picture") from None
    except Exception as error:  # a reader of Pillow raises nearly anything on a damaged file
        raise PictureError(f"damaged: {error}") from None


def blank(image: Image.Image) -> bool:
    """Whether one colour fills the whole picture, up to 7 of 255 grey levels."""
    low, high = _plain(image).convert("L").getextrema()
    return bool(high - low < 8)  # type: ignore[operator]


def _plain(image: Image.Image) -> Image.Image:
    """On white, with 8 bits a channel, in a mode that every rule understands."""
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode in ("1", "L", "P", "RGB", "CMYK", "YCbCr") else image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits and more as 8 bits: Pillow would clip it. White is the range that holds the brightest pixel."""
    values = np.nan_to_num(np.asarray(image, np.float64))
    brightest = float(values.max())
    white = 65535 if image.mode.startswith("I;16") else next((w for w in (1, 255, 65535) if brightest <= w), brightest)
    values[values == image.info.get("transparency")] = white
    return Image.fromarray(np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8))


def prepare(image: Image.Image, role: Role, preprocess: Preprocess) -> Pixels:
    """A decoded picture of one role -> the network's input as uint8 (size, size, 3)."""
    return framed(image, role, preprocess)[0]


def framed(image: Image.Image, role: Role, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """As `prepare`, and which part of the picture that input shows."""
    rule = preprocess.sketch if role == "sketch" else preprocess.photo
    return _RULES[rule, role](image, preprocess)


def paper(picture: Pixels) -> NDArray[np.float64]:
    """The border's median, a value for each channel (C,) of a picture (H, W, C)."""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    return np.median(border, axis=0)


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
    bright, ink = np.percentile(grey, 95), grey.min()
    left = top = 0
    if bright - ink >= 16:  # else nothing stands out: the whole picture is the sketch
        rows, columns = np.nonzero(grey < (bright + float(ink)) / 2)
        margin = round(0.04 * max(np.ptp(rows), np.ptp(columns)))
        left, top = max(0, int(columns.min()) - margin), max(0, int(rows.min()) - margin)
        right, bottom = int(columns.max()) + 1 + margin, int(rows.max()) + 1 + margin
        image = image.crop((left, top, min(image.width, right), min(image.height, bottom)))
    size = preprocess.size
    resized = ImageOps.contain(image, (size, size), _RESAMPLING[preprocess.interpolation])
    square = Image.new("RGB", (size, size), (int(bright),) * 3)
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
