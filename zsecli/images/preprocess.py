"""The network's input of a decoded picture: cut and sized as the model's preprocessing says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps

from zsecli.arrays import Mask, Pixels
from zsecli.images.decode import convert_mode
from zsecli.images.geometry import Frame
from zsecli.images.normalize_sketch import find_stroke_box, normalize_picture
from zsecli.images.preprocess_rules import Modality, Preprocess

MARGIN = 10  # pixels left around the strokes by the authors' crop
DARK_SUM = 300  # R + G + B up to which a pixel is a stroke in the authors' crop
CROP_MARGIN = 0.04  # of the longer side of the strokes, left around them by our crop
_RESAMPLING = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def make_input(image: Image.Image, modality: Modality, preprocess: Preprocess) -> Pixels:
    """A decoded picture -> the network's input as uint8 (size, size, 3)."""
    normalized, _ = normalize_picture(image, modality, preprocess)
    return frame_input(normalized, modality, preprocess)[0]


def frame_input(image: Image.Image, modality: Modality, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """The network's input of a picture as `normalize_picture` returns it, and which part of the picture it shows."""
    rule = preprocess.sketch if modality == "sketch" else preprocess.photo
    return _RULES[rule, modality](image, preprocess)


def _frame_whole(image: Image.Image, preprocess: Preprocess) -> Frame:
    across = image.width / preprocess.size
    down = image.height / preprocess.size
    return Frame(left=0, top=0, across=across, down=down)


def _resize(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    size = (preprocess.size, preprocess.size)
    resized = convert_mode(image, "RGB").resize(size, _RESAMPLING[preprocess.interpolation])
    return np.asarray(resized), _frame_whole(image, preprocess)


def _crop(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """Cut to the strokes with a margin of 4 %, keep the aspect, pad with the paper's colour."""
    image = convert_mode(image, "RGB")
    grey = np.asarray(image.convert("L"))
    left = top = 0
    box = find_stroke_box(grey)
    if box is not None:  # else nothing stands out: the whole picture is the sketch
        left, top, right, bottom = box
        margin = round(CROP_MARGIN * (max(right - left, bottom - top) - 1))
        left = max(0, left - margin)
        top = max(0, top - margin)
        right = min(image.width, right + margin)
        bottom = min(image.height, bottom + margin)
        image = image.crop((left, top, right, bottom))
    size = preprocess.size
    resized = ImageOps.contain(image, (size, size), _RESAMPLING[preprocess.interpolation])
    paper = int(np.percentile(grey, 95))
    square = Image.new("RGB", (size, size), (paper, paper, paper))
    x = round((size - resized.width) / 2)
    y = round((size - resized.height) / 2)
    square.paste(resized, (x, y))
    across = image.width / max(1, resized.width)
    down = image.height / max(1, resized.height)
    frame = Frame(
        left=left - x * across,
        top=top - y * down,
        across=across,
        down=down,
    )
    return np.asarray(square), frame


def _crop_as_released(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """The authors' sketch input: dark pixels (R + G + B <= 300), 10 px around them, long side to `size`.

    OpenCV's INTER_LINEAR there is PyTorch's bilinear without antialias here, to one grey level. Two
    faults are mended: a sketch without a dark pixel is taken whole, and no side becomes 0.
    """
    import torch
    from torch.nn import functional as F

    pixels = np.asarray(convert_mode(image, "RGB"))
    cut_left = cut_top = 0
    is_dark = _find_dark_pixels(pixels)
    rows = np.flatnonzero(is_dark.any(1))
    columns = np.flatnonzero(is_dark.any(0))
    if len(rows):
        # the far side stops one short of symmetry, as theirs does
        cut_top = max(0, int(rows.min()) - MARGIN)
        cut_left = max(0, int(columns.min()) - MARGIN)
        cut_bottom = rows.max() + MARGIN
        cut_right = columns.max() + MARGIN
        pixels = pixels[cut_top:cut_bottom, cut_left:cut_right]
    height, width = pixels.shape[:2]
    size = preprocess.size
    longest = max(height, width)
    new_height = max(1, height * size // longest)
    new_width = max(1, width * size // longest)
    values = torch.from_numpy(np.array(pixels, np.float32)).permute(2, 0, 1).unsqueeze(0)
    values = F.interpolate(
        values,
        size=(new_height, new_width),
        mode="bilinear",
        align_corners=False,
        antialias=False,
    )
    values = values.round().clamp(0, 255)
    resized = values.squeeze(0).permute(1, 2, 0).numpy().astype(np.uint8)
    square = np.full((size, size, 3), resized.max(), np.uint8)
    top = (size - new_height) // 2
    left = (size - new_width) // 2
    square[top : top + new_height, left : left + new_width] = resized
    across = width / new_width
    down = height / new_height
    frame = Frame(
        left=cut_left - left * across,
        top=cut_top - top * down,
        across=across,
        down=down,
    )
    return square, frame


def _find_dark_pixels(pixels: Pixels) -> Mask:
    """(H, W) whether a pixel of (H, W, 3) is dark; row by row, as the sums of a large picture are larger than it."""
    is_dark = np.empty(pixels.shape[:2], bool)
    for row, row_is_dark in zip(pixels, is_dark, strict=True):
        np.less_equal(row.sum(1, dtype=np.int32), DARK_SUM, out=row_is_dark)
    return is_dark


def _resize_as_released(image: Image.Image, preprocess: Preprocess) -> tuple[Pixels, Frame]:
    """The authors' photo input: resized in the file's own mode, then made RGB."""
    resized = image.resize((preprocess.size, preprocess.size)).convert("RGB")
    return np.asarray(resized), _frame_whole(image, preprocess)


_RULES: dict[tuple[str, str], Callable[[Image.Image, Preprocess], tuple[Pixels, Frame]]] = {
    ("resize", "sketch"): _resize,
    ("resize", "photo"): _resize,
    ("crop", "sketch"): _crop,
    ("released", "sketch"): _crop_as_released,
    ("released", "photo"): _resize_as_released,
}
