"""Every kind of wrong picture that people and cameras make, in one table.

It says what each is called, how it is made, and whether `zse embed` takes it (as what) or skips it (why).

`lay(folder)` makes one file of each; nothing here needs pytest.
"""

from __future__ import annotations

import functools
import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps


@dataclass(frozen=True)
class Kind:
    """One kind of picture.

    name: of the file; an absolute one is there already. make: called with its path.
    reason: part of why it is skipped; "" where it is taken. looks: what a person sees in one that is taken, as a
        picture that has the same features; None where there is no other.
    """

    kind: str
    name: str
    make: Callable[[Path], object]
    reason: str = ""
    looks: Image.Image | None = None


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there `count` times."""
    data = saved(HOUSE, "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * count + data[-2:]


def drawing(paper: Any = 255, ink: Any = 0, mode: str = "L", size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A house, which no turn and no mirror leaves as it is."""
    image = Image.new(mode, size, paper)
    draw = ImageDraw.Draw(image)
    draw.rectangle((25, 40, 70, 75), outline=ink, width=3)
    draw.line((25, 40, 48, 15, 70, 40), fill=ink, width=3)
    draw.line((60, 30, 60, 12), fill=ink, width=4)
    return image


def photographed(image: Image.Image) -> Image.Image:
    """A drawing in the middle of a sheet, with a shadow on one side and the noise of a camera."""
    sheet = Image.new("L", (image.width * 2, image.height * 2), 255)
    sheet.paste(image, (image.width // 2, image.height // 2))
    across = np.linspace(0, 1, sheet.width)[None]
    noise = np.random.default_rng(0).normal(0, 4, (sheet.height, sheet.width))
    return Image.fromarray(np.uint8((30 + 0.75 * np.asarray(sheet)) * (1 - 0.6 * across) + noise))


HOUSE, OTHER = drawing(), ImageOps.mirror(drawing())
COLOURED = drawing((255, 255, 255), (200, 30, 60), "RGB")
NOISE = Image.effect_noise((90, 90), 90).convert("RGB")
CLEAR = drawing((0, 0, 0, 0), (0, 0, 0, 255), "RGBA")
TURNS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE",
         8: "ROTATE_270"}  # fmt: skip
MARKS = b"\xff\xda" * 101  # the beginnings of scans
SVG = b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0L9 9"/></svg>\n'


def _turned(orientation: int) -> bytes:
    """The house, stored so that the EXIF block has it turned back."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = HOUSE if orientation == 1 else HOUSE.transpose(Image.Transpose[TURNS[orientation]])
    return saved(image, exif=exif)


def _bytes(data: bytes) -> Callable[[Path], object]:
    return functools.partial(_write, data=data)


def _write(path: Path, data: bytes) -> None:
    with open(os.fsencode(path), "wb") as file:
        file.write(data)


def _large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: nothing is written


def _taken(kind: str, name: str, data: bytes, looks: Image.Image | None = HOUSE) -> Kind:
    return Kind(kind, name, _bytes(data), looks=looks)


def _skipped(kind: str, name: str, data: bytes, reason: str) -> Kind:
    return Kind(kind, name, _bytes(data), reason)


KINDS = (
    _skipped("truncated PNG", "truncated.png", saved(NOISE)[:2000], "damaged"),
    _skipped("truncated JPEG", "truncated.jpg", saved(NOISE, "JPEG")[:1500], "damaged"),
    _skipped("zero bytes", "nothing.png", b"", "empty"),
    _skipped("text named as a picture", "text.png", b"path,modality,class\n", "not a picture"),
    _taken("PNG named as JPEG", "png.jpg", saved(HOUSE)),
    _skipped("decompression bomb", "bomb.png", bomb(100_000), "more than 178 megapixels"),
    _skipped("JPEG of scans without end", "scans.jpg", scans(101), "more than 100 scans"),
    _taken("JPEG before a video", "motion.jpg", saved(HOUSE, "JPEG", quality=100, comment=MARKS) + MARKS,
           Image.open(io.BytesIO(saved(HOUSE, "JPEG", quality=100)))),
    _skipped("picture of no bytes behind its header", "hollow.png", bomb(300), "damaged"),
    _taken("1 x N", "column.png", saved(HOUSE.crop((26, 0, 27, 90))), HOUSE.crop((26, 0, 27, 90))),
    _taken("N x 1", "row.png", saved(HOUSE.crop((0, 60, 120, 61))), HOUSE.crop((0, 60, 120, 61))),
    _taken("16 bits", "16.png", saved(Image.fromarray(np.asarray(HOUSE, np.uint16) * 257))),
    _taken("16 bits, TIFF", "16.tif", saved(Image.fromarray(np.asarray(HOUSE, np.uint16) * 257), "TIFF")),
    _taken("floating point, TIFF", "float.tif", saved(Image.fromarray(np.asarray(HOUSE, np.float32) / 255), "TIFF")),
    _taken("CMYK", "cmyk.tif", saved(COLOURED.convert("CMYK"), "TIFF"), COLOURED),
    _taken("two colours", "1.png", saved(HOUSE.convert("1"))),
    _taken("palette", "palette.png", saved(COLOURED.quantize(4)), COLOURED),
    _taken("palette with alpha", "palette-alpha.png", saved(CLEAR.quantize(4))),
    _taken("grey with alpha", "grey-alpha.png", saved(CLEAR.convert("LA"))),
    *(_taken(f"EXIF orientation {turn}", f"exif-{turn}.png", _turned(turn)) for turn in range(1, 9)),
    _taken("animated GIF", "animated.gif", saved(HOUSE, "GIF", save_all=True, append_images=[OTHER])),
    _taken("animated WebP", "animated.webp", saved(HOUSE, "WEBP", save_all=True, append_images=[OTHER], lossless=True)),
    _taken("animated PNG", "animated.png", saved(HOUSE, save_all=True, append_images=[OTHER])),
    _skipped("SVG", "drawing.svg", SVG, "an SVG drawing: export it as PNG"),
    _skipped("SVG named as PNG", "svg.png", SVG, "an SVG drawing: export it as PNG"),
    _skipped("PDF", "page.pdf", b"%PDF-1.7\n", "a PDF document: export its page as PNG"),
    _skipped("PostScript", "drawing.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript drawing"),
    _skipped("HEIC", "photo.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC photo: save it as JPEG"),
    _skipped("JPEG XL", "photo.jxl", b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture: save it as PNG"),
    _skipped("web page saved as a picture", "page.jpg", b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
    _skipped("HDF5 file", "store.png", b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "not a picture"),
    Kind("a terabyte that is no picture", "large.png", _large, "not a picture"),
    Kind("directory", "folder.png", Path.mkdir, "no picture in this folder"),
    Kind("pipe that nobody writes to", "pipe.png", os.mkfifo, "a pipe, socket or device"),
    Kind("endless device", "/dev/zero", lambda path: None, "a pipe, socket or device"),
    Kind("missing file", "missing.png", lambda path: None, "no such file"),
    Kind("link to nothing", "dangling.png", lambda path: path.symlink_to("nowhere.png"), "no such file"),
    Kind("link to itself", "loop.png", lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    Kind("name too long", "n" * 300 + ".png", lambda path: None, "File name too long"),
    _taken("name with blanks", " a  b .png", saved(HOUSE)),
    _taken("name with a newline", "line\nfeed.png", saved(HOUSE)),
    _taken("name with quotes", "it's \"it\" `it`.png", saved(HOUSE)),
    _taken("name with a terminal's commands", "\x1b[31mred.png", saved(HOUSE)),
    _skipped("name in bytes that are not UTF-8", os.fsdecode(b"caf\xe9.png"), saved(HOUSE), "its name is not UTF-8"),
    _skipped("blank sketch", "blank.png", saved(Image.new("L", (90, 90), 255)), "blank"),
    _skipped("transparent sketch of nothing", "clear.png", saved(Image.new("RGBA", (9, 9), (0, 0, 0, 0))), "blank"),
    _taken("sketch, white on black", "inverted.png", saved(ImageOps.invert(HOUSE))),
    _taken("sketch, colour on black", "neon.png", saved(ImageOps.invert(COLOURED)), COLOURED),
    _taken("sketch on a transparent background", "transparent.png", saved(CLEAR)),
    _taken("sketch, white on transparent", "white.png", saved(drawing((0, 0, 0, 0), (255, 255, 255, 255), "RGBA"))),
    _taken("sketch, pale pencil", "pale.png", saved(drawing(ink=230)), drawing(ink=230)),
    _taken("sketch in colour", "colour.png", saved(COLOURED), COLOURED),
    _taken("sketch on photographed paper", "paper.jpg", saved(photographed(HOUSE), "JPEG"), None),
    _taken("sketch, chalk on a photographed blackboard", "chalk.jpg",
           saved(ImageOps.invert(photographed(HOUSE)).filter(ImageFilter.GaussianBlur(1)), "JPEG"), None),
)  # fmt: skip


def lay(folder: Path) -> dict[str, Path]:
    """Make a file of every kind in `folder` -> the kinds and paths, without those that the file system refuses."""
    laid = {}
    for kind in KINDS:
        path = folder / kind.name
        try:
            kind.make(path)
        except OSError:
            continue
        laid[kind.kind] = path
    return laid
