"""Text in pictures: labels in any script are drawn or escaped, never as boxes; long names stay in their place."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.commands import Zse, call
from helpers.tiny import TINY, build
from zsecli.model import checkpoint
from zsecli.render import fonts
from zsecli.render.fonts import draw_text, shorten_to_width, text_width

NOBODYS = "\U000f1234"  # for private use: no font of a system has it
SCRIPTS = ("собака", "猫犬", "قطة", "חתול", "Ωμέγα", "हिन्दी", "🐱🐶", "ꙮꙮ", NOBODYS)


def drawn(text: str, most: float = 400) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = Image.new("L", (400, 40), 255)
    draw_text(ImageDraw.Draw(image), 4, 30, text, "black", 20, max_width=most)
    return np.asarray(image)


@pytest.mark.parametrize("text", SCRIPTS)
def test_no_letter_is_a_box(text: str) -> None:
    """Each stretch is in a font that has all of its letters, or is escaped in plain ASCII."""
    shown = ""
    for run in fonts._split_runs(text):
        shown += run.text
        if run.escaped_letter:
            assert run.text.isascii() and run.text.startswith(ascii(run.escaped_letter)[1:-1])
        else:
            boxes = fonts._load_font(run.file, 24).getmask(fonts.NONCHARACTER)
            for character in set(run.text):
                glyph = fonts._load_font(run.file, 24).getmask(character)
                assert (glyph.size, bytes(glyph)) != (boxes.size, bytes(boxes))
    assert ascii(shown).replace("\\\\", "\\") == ascii(text)  # nothing is lost


def test_labels_of_one_length_differ() -> None:
    """As boxes they would not."""
    for one, other in (("собака", "кошечк"), ("猫", "犬"), ("قطة", "كلب"), (NOBODYS, "\U000f1235"), ("חתול", "כלבי")):
        assert (drawn(one) != drawn(other)).any()
        assert (drawn(one) < 128).any()


def test_a_line_ends_where_it_must() -> None:
    for text in ("a long name " * 20, "длинное имя " * 20, "اسم طويل " * 20, NOBODYS * 40):
        assert text_width(shorten_to_width(text, 20, 150), 20) <= 150
        assert shorten_to_width(text, 20, 150).endswith("…")
        assert (drawn(text, 150)[:, 160:] == 255).all()
    assert shorten_to_width("short", 20, 150) == "short"


def test_mixed_directions_keep_the_order_of_the_line() -> None:
    """A name from right to left in a sentence from left to right: the sentence begins on the left."""
    if not any(run.file for run in fonts._split_runs("قطة")):
        pytest.skip("no font here has Arabic letters, or Pillow lacks raqm")
    begins, whole = drawn("photo: "), drawn("photo: قطة")
    width = int(text_width("photo:", 20))
    assert (begins[:, : width + 2] == whole[:, : width + 2]).all()


def test_a_sheet_of_other_scripts(shell: Zse, tmp_path: Path, pictures: Path) -> None:
    names = {"animal-bird": "собака", "drink": NOBODYS, "lock": "قطة"}
    for modality in ("sketch", "photo"):
        for name, other in names.items():
            shutil.copytree(pictures / modality / name, tmp_path / "t" / modality / other)
    words = "zse prepare folder t > /dev/null && zse evaluate --sheet sheet.png > /dev/null"
    noted = [line for line in shell(words).err.splitlines() if line.startswith("note: no font here has")]
    assert len([line for line in noted if NOBODYS in line and "\\U000f1234" in line]) == 1  # once, not for each label
    assert (tmp_path / "sheet.png").stat().st_size > 5000


def test_a_long_name_keeps_off_the_next_title(tmp_path: Path, pictures: Path) -> None:
    """In the figure of `explain --contrast`; the names stand in titles of the figure's own width, too."""
    checkpoint.save(build(TINY), tmp_path / "m.safetensors")
    sketch = next((pictures / "sketch" / "drink").iterdir())
    photos = sorted((pictures / "photo" / "drink").iterdir())[:2]
    long = [tmp_path / f"{letter * 110}.webp" for letter in "mw"]
    for photo, name in zip(photos, long, strict=True):
        shutil.copy(photo, name)
    words = (sketch, long[0], "--contrast", long[1], "--model", "m.safetensors", "-o", "figure")
    call(tmp_path, "explain", *words).ok()
    texts = [node for node in ET.parse(tmp_path / "figure.svg").iter() if node.tag.endswith("text")]
    for text in texts:
        shown = text.text or ""  # without the tooltip, which is a child
        if text.get("text-anchor") != "start":
            continue
        end = float(text.get("x", 0)) + text_width(shown, float(text.get("font-size", 13)))
        row = [float(other.get("x", 0)) for other in texts if other.get("y") == text.get("y")]
        assert end <= min([x for x in row if x > float(text.get("x", 0))], default=1104), shown
    assert any((text.text or "").startswith("Why this one rather than w") for text in texts)
    assert json.loads((tmp_path / "figure.json").read_text())["contrast"]["photo"]["name"] == long[1].name  # whole


def test_help_offers_models_that_work(tmp_path: Path) -> None:
    said = re.sub(r"\s+", " ", call(tmp_path, "embed", "--help").out)
    assert "Small" not in said and "small, freehand: the shipped networks" in said
