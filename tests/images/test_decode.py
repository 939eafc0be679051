"""Pictures in: what is decoded looks as a viewer shows it, and every rule makes the network's input of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from helpers.demo import DEMO
from helpers.golden import load_golden
from helpers.wrong_pictures import COLOURED, HOUSE, OTHER, bomb, photographed, saved
from zsecli.arrays import Pixels
from zsecli.data.hashing import hash_files
from zsecli.images.decode import decode
from zsecli.images.guess_modality import guess_modality
from zsecli.images.normalize_sketch import normalize_picture
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess import make_input
from zsecli.images.preprocess_rules import Modality, Preprocess

RELEASED = Preprocess(sketch="released", photo="released")
CROP = Preprocess(size=64, sketch="crop")
RULES = {"resize": Preprocess(size=64), "crop": CROP, "released": Preprocess(64, sketch="released", photo="released")}


def pixels(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


# --- the authors' rules ----------------------------------------------------------------------------------------------


def golden(name: str) -> list[tuple[Pixels, Pixels]]:
    with load_golden() as arrays:
        names = [n.removesuffix("_in") for n in arrays.files if n.startswith(f"pre_{name}_") and n.endswith("_in")]
        assert names
        return [(arrays[f"{n}_in"], arrays[f"{n}_out"]) for n in names]


def test_released_sketches_are_the_authors_to_one_grey_level() -> None:
    for given, expected in golden("sketch"):
        made = make_input(decode(saved(Image.fromarray(given))), "sketch", RELEASED)
        apart = np.abs(made.astype(int) - expected)
        assert made.shape == expected.shape
        assert (apart <= 1).mean() >= 0.999


@pytest.mark.fast
def test_released_photos_are_the_authors() -> None:
    for given, expected in golden("photo"):
        made = make_input(decode(saved(Image.fromarray(given))), "photo", RELEASED)
        np.testing.assert_array_equal(made, expected)


# --- every rule, every picture ---------------------------------------------------------------------------------------


def drawing(size: tuple[int, int] = (100, 80), paper: int = 255, ink: int = 0) -> Image.Image:
    image = Image.new("L", size, paper)
    ImageDraw.Draw(image).rectangle((30, 20, 60, 40), outline=ink, width=2)
    return image


ODD = {
    "blank": Image.new("L", (50, 40), 255),
    "black": Image.new("L", (50, 40), 0),
    "pale": drawing(ink=250),
    "grey": drawing(ink=150),
    "inverted": drawing(paper=0, ink=255),
    "mostly ink": drawing(paper=0, ink=10),
    "a dot": drawing((1, 1)),
    "a column": Image.new("RGB", (1, 500), "white"),
    "a row": Image.new("RGB", (3000, 1), "black"),
    "a line in a corner": Image.fromarray(np.pad(np.zeros((1, 60), np.uint8), ((0, 59), (0, 0)), constant_values=255)),
    "one dark pixel": Image.fromarray(np.pad(np.zeros((1, 1), np.uint8), 30, constant_values=255)),
    "two colours": drawing().convert("1"),
    "palette": drawing().convert("P"),
    "CMYK": drawing().convert("CMYK"),
    "colour": Image.effect_noise((70, 60), 60).convert("RGB"),
}


@pytest.mark.parametrize("role", ["sketch", "photo"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ODD)
def test_no_picture_is_too_odd(name: str, rule: str, role: Any) -> None:
    form = "TIFF" if name == "CMYK" else "PNG"
    made = make_input(decode(saved(ODD[name], form)), role, RULES[rule])
    assert (made.shape, made.dtype) == ((64, 64, 3), np.uint8)
    if name == "blank":
        assert (made == 255).all()
    if name in ("pale", "grey", "inverted", "two colours", "palette", "CMYK"):
        assert np.ptp(made) > 0, "the strokes are gone"


# --- crop ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (255, 120), (230, 60)])
@pytest.mark.parametrize("box", [(10, 10, 190, 60), (150, 20, 170, 140), (0, 0, 199, 149), (40, 40, 80, 80)])
def test_crop_keeps_strokes_and_aspect(paper: int, ink: int, box: tuple[int, int, int, int]) -> None:
    """The drawing fills the square but for the margin, as wide to high as it was, wherever it lay on the paper."""
    image = Image.new("L", (200, 150), paper)
    ImageDraw.Draw(image).rectangle(box, outline=ink, width=3)
    made = make_input(image, "sketch", Preprocess(size=128, sketch="crop"))
    assert made[0, 0].tolist() == made[-1, -1].tolist() == [paper] * 3 or box == (0, 0, 199, 149)
    rows, columns = np.nonzero(made[..., 0] < (paper + ink) / 2)
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert wide / high == pytest.approx((box[2] - box[0] + 1) / (box[3] - box[1] + 1), rel=0.06)
    assert 0.9 * 128 <= max(high, wide) <= 128
    assert abs(rows.min() + rows.max() - 127) <= 2
    assert abs(columns.min() + columns.max() - 127) <= 2


def test_crop_pads_with_the_paper() -> None:
    image = Image.new("L", (300, 60), 200)
    ImageDraw.Draw(image).line((10, 30, 290, 30), fill=0, width=4)
    made = make_input(image, "sketch", CROP)
    assert (made[:20] == 200).all()
    assert (made[-20:] == 200).all()


# --- ink and paper ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("image", [HOUSE, COLOURED, drawing(paper=230, ink=60)])
def test_bright_on_dark_is_as_if_it_had_been_drawn_dark_on_bright(image: Image.Image, rule: str) -> None:
    dark = ImageOps.invert(image.convert("RGB"))
    same = np.array_equal(make_input(dark, "sketch", RULES[rule]), make_input(image, "sketch", RULES[rule]))
    assert same is (rule != "released")  # that does what the authors do
    assert np.array_equal(make_input(dark, "photo", RULES[rule]), make_input(image, "photo", RULES[rule])) is False


@pytest.mark.parametrize("name", [name for name in ODD if name not in ("inverted", "mostly ink", "colour")])
def test_a_clean_sketch_is_left_as_it_is(name: str) -> None:
    assert normalize_picture(ODD[name], "sketch", CROP) == (ODD[name], ())


def test_the_sketches_that_results_were_measured_with_are_left_as_they_are() -> None:
    for file in (DEMO / "sketch").rglob("*.png"):
        assert normalize_picture(decode(file.read_bytes()), "sketch", CROP)[1] == (), file


def test_neither_a_dark_table_nor_a_dark_edge_makes_a_sheet_a_blackboard() -> None:
    table = Image.new("L", (200, 160), 40)
    table.paste(HOUSE, (40, 35))
    edge = np.asarray(HOUSE) * (0.3 + 0.7 * np.hanning(90)[:, None] ** 0.3 * np.hanning(120) ** 0.3)
    for image in (table.crop((30, 25, 170, 135)), Image.fromarray(edge.astype(np.uint8))):
        assert "inverted" not in normalize_picture(image, "sketch", CROP)[1]


@pytest.mark.parametrize("rule", ["resize", "crop"])
@pytest.mark.parametrize("board", [False, True])
def test_uneven_light_is_evened_out(rule: str, board: bool) -> None:
    """The strokes of a photographed sheet are where those of the clean sheet are, and nothing else is dark."""
    clean = Image.new("L", (240, 180), 255)
    clean.paste(HOUSE, (60, 45))
    shot = photographed(HOUSE)
    seen = make_input(ImageOps.invert(shot) if board else shot, "sketch", RULES[rule])[..., 0]
    wanted = make_input(clean, "sketch", RULES[rule])[..., 0]
    assert np.corrcoef(seen.ravel(), wanted.ravel())[0, 1] > 0.9
    assert np.median(seen) > 240


def test_evening_keeps_colours() -> None:
    image = photographed(HOUSE).convert("RGB")
    red = Image.merge("RGB", [image.getchannel(0).point(lambda v: min(255, v + 30)), *image.split()[1:]])
    seen, changes = normalize_picture(red, "sketch", CROP)
    assert changes == ("evened",)
    assert (np.asarray(seen, int)[..., 0] >= np.asarray(seen, int)[..., 1]).all()


@pytest.mark.parametrize(("role", "black"), [("sketch", True), ("photo", False)])
def test_the_guess_takes_a_drawing_on_a_dark_screen_for_a_sketch(tmp_path: Path, role: Modality, black: bool) -> None:
    image = ImageOps.invert(HOUSE) if black else photographed(HOUSE)  # of the latter nobody can know
    image.save(tmp_path / "x.png")
    assert guess_modality(tmp_path / "x.png") == role


# --- decoding --------------------------------------------------------------------------------------------------------


def test_exif_turns_a_picture() -> None:
    image = Image.new("RGB", (40, 20), "white")
    image.paste("red", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    turned = pixels(decode(saved(image, exif=exif)))
    np.testing.assert_array_equal(turned, np.rot90(pixels(image), -1))


RED_ON_NOTHING = Image.new("RGBA", (4, 2), (0, 0, 0, 0))
RED_ON_NOTHING.paste((255, 0, 0, 255), (0, 0, 2, 2))
CLEAR: dict[str, tuple[bytes, list[int]]] = {
    "RGBA": (saved(RED_ON_NOTHING), [255, 0, 0]),
    "RGBA in WebP": (saved(RED_ON_NOTHING, "WEBP", lossless=True), [255, 0, 0]),
    "palette": (saved(RED_ON_NOTHING.quantize(4)), [255, 0, 0]),
    "GIF": (saved(RED_ON_NOTHING, "GIF"), [255, 0, 0]),
    "LA": (saved(Image.merge("LA", [Image.new("L", (4, 2)), RED_ON_NOTHING.getchannel("A")])), [0, 0, 0]),
    "grey with a clear one": (saved(Image.fromarray(np.array([[9, 9, 7, 7]] * 2, np.uint8)), transparency=7), [9] * 3),
    "deep grey with a clear one": (
        saved(Image.fromarray(np.array([[2570, 2570, 7, 7]] * 2, np.uint16)), transparency=7),
        [10] * 3,
    ),
    "colour with a clear one": (saved(RED_ON_NOTHING.convert("RGB"), transparency=(0, 0, 0)), [255, 0, 0]),
}


@pytest.mark.parametrize("name", CLEAR)
def test_transparent_pixels_become_white(name: str) -> None:
    data, colour = CLEAR[name]
    assert pixels(decode(data)).tolist() == [[colour] * 2 + [[255] * 3] * 2] * 2


def test_white_strokes_on_nothing_lie_on_black() -> None:
    """On white they would vanish; what is pale is to be seen there, and stays."""
    for grey, paper in ((255, 0), (250, 0), (240, 255)):
        made = pixels(decode(saved(Image.merge("LA", [Image.new("L", OTHER.size, grey), ImageOps.invert(OTHER)]))))
        assert (made[0, 0].tolist(), made.max(), made.min()) == ([paper] * 3, max(grey, paper), min(grey, paper))
    nothing = saved(Image.new("RGBA", (3, 3), (0, 0, 0, 0)))
    assert (pixels(decode(nothing)) == 255).all()
    assert (pixels(decode(saved(Image.new("RGBA", (3, 3), "white")))) == 255).all()


def test_half_clear_is_half_white() -> None:
    assert pixels(decode(saved(Image.new("RGBA", (1, 1), (0, 0, 0, 128))))).tolist() == [[[127] * 3]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 257, 25700, 65535]], np.uint16), [0, 1, 100, 255]),
        (np.array([[0, 300, 600, 900]], np.uint16), [0, 1, 2, 4]),  # a dark picture stays dark
        (np.array([[0, 70000, 140000, -5]], np.int32), [0, 128, 255, 0]),
        (np.array([[0, 1000, 65535, 257]], np.int32), [0, 4, 255, 1]),
        (np.array([[0, 100, 200, 255]], np.int32), [0, 100, 200, 255]),
        (np.array([[0, 0.5, 1, -1]], np.float32), [0, 128, 255, 0]),
        (np.array([[0, np.nan, 255, 51]], np.float32), [0, 0, 255, 51]),
        (np.array([[0, 0, 0, 0]], np.float32), [0, 0, 0, 0]),
    ],
)
def test_more_than_eight_bits(values: np.ndarray[Any, Any], expected: list[int]) -> None:
    assert pixels(decode(saved(Image.fromarray(values), "TIFF")))[0, :, 0].tolist() == expected
    if values.dtype == np.uint16:
        assert pixels(decode(saved(Image.fromarray(values))))[0, :, 0].tolist() == expected


def test_a_palette_without_clear_colours_stays_one() -> None:
    """As the authors' code resizes it before it becomes RGB."""
    assert decode(saved(ODD["palette"])).mode == "P"


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_colour_spaces(mode: str) -> None:
    image = Image.new("RGB", (8, 8), (200, 100, 50)).convert("YCbCr") if mode == "YCbCr" else Image.new("LAB", (8, 8))
    assert make_input(decode(saved(image, "TIFF")), "photo", CROP).shape == (64, 64, 3)


# --- files that are no pictures --------------------------------------------------------------------------------------


NOISE = Image.effect_noise((60, 60), 90).convert("RGB")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"path,modality,class\n", "not a picture"),
        (b"\x00" * 5000, "not a picture"),
        (saved(NOISE)[:2000], "damaged"),
        (saved(NOISE, "JPEG")[:1000], "damaged"),
        (saved(NOISE, "WEBP")[:500], "damaged|not a picture"),
        (bomb(14_000), "more than 178 megapixels"),
        (bomb(100_000), "more than 178 megapixels"),
    ],
    ids=["empty", "text", "zeros", "PNG", "JPEG", "WebP", "large", "huge"],
)
def test_a_file_that_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        decode(data)


def test_a_phone_with_a_hundred_megapixels(tmp_path: Path) -> None:
    data = saved(Image.new("1", (10_000, 9_000), 1))
    assert decode(data).size == (10_000, 9_000)
    (tmp_path / "x.png").write_bytes(data)
    assert hash_files(tmp_path, ["x.png"], {}, decode=True).bad == []


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_damage_anywhere_is_a_picture_error_or_a_picture(form: str) -> None:
    """Pillow's readers raise nearly anything; none of it may stop a run over many files."""
    exif = Image.Exif()
    exif[0x0112] = 3
    data, chance = (
        saved(NOISE, form, **({"exif": exif} if form != "BMP" and form != "GIF" else {})),
        random.Random(form),
    )
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(chance.choice([1, 5])):
            broken[chance.randrange(chance.choice([100, len(data)]))] = chance.randrange(256)
        try:
            image = decode(bytes(broken[: chance.choice([len(data), chance.randrange(len(data))])]))
        except PictureError:
            continue
        if image.width * image.height < 10**6:
            assert make_input(image, "sketch", CROP).shape == (64, 64, 3)
