"""The page of an explanation, as a reader meets it in a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zsecli.render import explanation_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
GRID, PATCH, BLANK, DROPPED = 3, 40, 4, 8  # BLANK in the sketch and DROPPED in the photo
ASKED = [place for place in range(GRID**2) if place not in (BLANK, DROPPED)]
EVIL = "</script><img src=x onerror=alert(1)>\"'&{{data}}"


def side(name: str, shift: int) -> dict[str, Any]:
    """A picture of 3 x 3 patches; the first head looks at one place, the second at the next."""
    places = range(GRID**2)
    corners = [(place % GRID * PATCH, place // GRID * PATCH) for place in places]
    return {
        "name": name,
        "width": GRID * PATCH,
        "height": GRID * PATCH,
        "grid": [GRID, GRID],
        "boxes": [[x, y, x + PATCH, y + PATCH] for x, y in corners],
        "strokes": [True] * GRID**2,
        "kept": [True] * GRID**2,
        "attention": [[0.9 if place == head + shift else 0.01 for place in places] for head in range(2)],
    }


def said(photo: dict[str, Any], factor: float) -> dict[str, Any]:
    """What a network could say: by cosine places answer each other in reading order, by attention in the opposite."""
    orders = {"cosine": ASKED, "attention": ASKED[::-1], "contribution": ASKED}
    matches, nearest = {}, {}
    for source, answers in orders.items():
        scores = [round(factor * (0.9 - 0.1 * i), 3) for i in range(len(ASKED))]
        matches[source] = [list(match) for match in zip(ASKED, answers, scores, strict=True)]
        there: list[list[Any]] = [[] for _ in range(GRID**2)]
        back: list[list[Any]] = [[] for _ in range(GRID**2)]
        for i, j, score in matches[source]:
            there[i], back[j] = [[j, score], [(j + 1) % 8, 0.01]], [[i, score]]
        nearest[source] = {"sketch": there, "photo": back}
    score = {"relation": 0.9 * factor, "cosine": 0.5, "logit": 1.5, "local": 2.5, "ret": 1.0, "constant": -2.0}
    kernel = {"cell": 1, "grid": [GRID, GRID], "values": np.linspace(-1, 1, GRID**4).reshape(9, 9).tolist()}
    return {"photo": photo, "score": score, "matches": matches, "nearest": nearest, "kernel": kernel}


def explanation(sketch: str = "hen.png", photo: str = "hen.webp", contrast: str = "owl.webp") -> dict[str, Any]:
    """A document of the three pictures."""
    found = {
        "schema": "zse-explanation",
        "version": "1.0",
        "model": {"name": "small", "weights": "0" * 64},
        "source": "cosine",
        "preprocess": {},
        "sketch": side(sketch, 0),
        **said(side(photo, 5), 1.0),
        "contrast": said(side(contrast, 5), 0.5) | {"difference": [0.1, -0.2, 0.3] * 3},
    }
    found["sketch"]["strokes"][BLANK] = False
    found["photo"]["kept"][DROPPED] = False
    return found


def written(folder: Path, document: dict[str, Any]) -> Path:
    """The page of a document, with pictures of noise."""
    noise = np.random.default_rng(0).integers(0, 255, (GRID * PATCH, GRID * PATCH, 3), np.uint8)
    names = ["sketch", "photo"] + ["contrast"] * ("contrast" in document)
    explanation_page.write_page(document, dict.fromkeys(names, Image.fromarray(noise)), folder / "page.html")
    return folder / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of this file."""
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", *QUIET])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of `explanation()`."""
    return written(tmp_path_factory.mktemp("page"), explanation())


class Reader:
    """A reader with the page open, who notes every message, dialog and request."""

    def __init__(self, browser: Any, file: Path, **settings: Any) -> None:
        self.tab = browser.new_page(**{"viewport": {"width": 1280, "height": 1000}, **settings})
        self.noise: list[str] = []
        self.tab.on("console", lambda message: self.noise.append(message.text))
        self.tab.on("pageerror", lambda error: self.noise.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.noise.append("dialog"), dialog.dismiss()))
        self.tab.on("request", lambda request: self.noise.append(request.url))
        self.tab.goto(file.as_uri())
        self.url = file.as_uri()

    def patch(self, side: str, place: int) -> Any:
        return self.tab.locator(f".patch[data-side={side}][data-place='{place}']")

    def lit(self, side: str) -> list[int]:
        """The places of a picture that are lit up, in order."""
        return sorted(int(box.get_attribute("data-place")) for box in self.tab.locator(f".lit[data-side={side}]").all())

    def text(self, name: str) -> str:
        return str(self.tab.locator(f"#{name}").text_content())

    def focused(self) -> tuple[str, int]:
        side, place = self.tab.evaluate("[document.activeElement.dataset.side, document.activeElement.dataset.place]")
        return side, int(place)

    def lines(self) -> int:
        return int(self.tab.locator(".line").count())

    def background(self) -> str:
        return str(self.tab.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.fixture
def reader(browser: Any, file: Path) -> Iterator[Reader]:
    """A reader of the page, who must have met no error and caused no request but for the page and its pictures."""
    reader = Reader(browser, file)
    yield reader
    asked = [url for url in reader.noise if not url.startswith("data:")]
    reader.tab.close()
    assert asked == [reader.url]


def test_pointing_at_a_patch_lights_up_its_matches_in_the_other_picture(reader: Reader) -> None:
    """Either picture can be asked; the score is in the picture and in a line of text."""
    assert reader.lit("photo") == reader.lit("sketch") == []
    reader.patch("sketch", 1).hover()
    assert reader.lit("photo") == [1, 2] and reader.lit("sketch") == []
    assert reader.text("status") == "Sketch patch row 1, column 2: best in the photo row 1, column 2, 0.80"
    assert reader.tab.locator("#marks text").all_text_contents() == [".80"]  # the other one's is next to nothing
    reader.patch("photo", 5).hover()
    assert reader.lit("sketch") == [5] and reader.lit("photo") == []
    assert reader.text("status").startswith("Photo patch row 2, column 3: best in the sketch row 2, column 3")
    reader.tab.mouse.move(1, 1)
    assert reader.lit("sketch") == []


def test_pointing_fades_the_other_lines(reader: Reader) -> None:
    """Only the line of the patch itself stays."""
    reader.tab.locator("#threshold").fill("0")
    reader.patch("photo", 2).hover()
    assert reader.tab.locator(".line:not(.faded)").evaluate_all("lines => lines.map(one => one.dataset.photo)") == ["2"]


def test_a_click_holds_a_patch(reader: Reader) -> None:
    """It stays while the reader uses the switches; a second click or Escape lets it go."""
    reader.patch("sketch", 0).click()
    reader.tab.locator("[value=attention]").check()
    reader.tab.mouse.move(1, 1)
    assert 7 in reader.lit("photo")
    reader.patch("sketch", 0).click()
    assert reader.tab.locator("[aria-pressed=true]").count() == 0
    reader.patch("sketch", 0).click()
    reader.tab.mouse.move(1, 1)
    reader.tab.keyboard.press("Escape")
    assert reader.lit("photo") == []


def test_a_tap_holds_a_patch(browser: Any, file: Path) -> None:
    """A finger cannot hover."""
    reader = Reader(browser, file, viewport={"width": 390, "height": 844}, has_touch=True)
    reader.patch("sketch", 2).tap()
    assert reader.lit("photo") == [2, 3]
    reader.patch("sketch", 2).tap()
    assert reader.lit("photo") == []
    reader.tab.close()


def test_keys_reach_every_patch(reader: Reader) -> None:
    """Tab enters a picture once, arrows move over what is not blank, Escape clears."""
    reader.tab.locator("summary").focus()
    reader.tab.keyboard.press("Tab")
    assert reader.focused() == ("sketch", 0) and reader.lit("photo") == [0, 1]
    reader.tab.keyboard.press("ArrowRight")
    assert reader.focused() == ("sketch", 1) and reader.lit("photo") == [1, 2]
    reader.tab.keyboard.press("ArrowDown")
    assert reader.focused() == ("sketch", 7)  # the blank one between them is jumped over
    reader.tab.keyboard.press("ArrowLeft")
    reader.tab.keyboard.press("ArrowLeft")
    assert reader.focused() == ("sketch", 6)
    reader.tab.keyboard.press("Escape")
    assert reader.lit("photo") == []
    reader.tab.keyboard.press("Tab")
    assert reader.focused() == ("photo", 0) and reader.lit("sketch") == [0]
    reader.tab.keyboard.press("Shift+Tab")
    assert reader.focused() == ("sketch", 6)


def test_what_is_blank_or_dropped_cannot_be_asked(reader: Reader) -> None:
    """It is shown as such, and takes no focus."""
    assert reader.patch("sketch", BLANK).count() == reader.patch("photo", DROPPED).count() == 0
    assert reader.tab.locator("#stage .blank").count() == reader.tab.locator("#stage .dropped").count() == 1
    assert reader.tab.locator(".blank[tabindex], .dropped[tabindex]").count() == 0
    assert "blank patches are left out" in reader.text("key") and "dropped" in reader.text("key")


def test_padding_is_no_patch(browser: Any, tmp_path: Path) -> None:
    """A patch of no size is not drawn."""
    document = explanation()
    document["photo"]["boxes"][0] = [0, 0, 0, PATCH]
    reader = Reader(browser, written(tmp_path, document))
    assert reader.patch("photo", 0).count() == 0 and reader.patch("photo", 1).count() == 1
    reader.tab.close()


def test_the_threshold_says_how_many_lines_are_drawn(reader: Reader) -> None:
    """A line is a mutual best match with that share of the best score."""
    assert (reader.lines(), reader.text("count")) == (7, "7 of 7 matches")
    reader.tab.locator("#threshold").fill("70")
    assert (reader.lines(), reader.text("count")) == (3, "3 of 7 matches")
    reader.tab.locator("#threshold").fill("100")
    assert reader.lines() == 1
    reader.tab.locator("#lines").uncheck()
    assert reader.lines() == 0


def test_about_a_dozen_lines_at_first(browser: Any, tmp_path: Path) -> None:
    """So many can be followed by eye; the slider has the others."""
    document = explanation()
    document["matches"]["cosine"] = [[0, 1, round(0.9 * 0.95**i, 4)] for i in range(40)]
    reader = Reader(browser, written(tmp_path, document))
    assert reader.lines() in range(11, 15) and reader.text("count") == f"{reader.lines()} of 40 matches"
    reader.tab.close()


def test_lines_follow_their_patches(reader: Reader) -> None:
    """An end of a line is the middle of its patch, beside each other and stacked."""
    for width in (1280, 500):
        reader.tab.set_viewport_size({"width": width, "height": 900})
        reader.tab.wait_for_function("""() => [...document.querySelectorAll('.line')].every(line => {
            const end = line.querySelectorAll('circle')[1].getBoundingClientRect();
            const patch = document.querySelector(`.patch[data-side=photo][data-place="${line.dataset.photo}"]`);
            const box = patch.getBoundingClientRect();
            return Math.abs(box.x + box.width / 2 - end.x - end.width / 2) < 1.5
                && Math.abs(box.y + box.height / 2 - end.y - end.height / 2) < 1.5;
        })""")


def test_the_sources_differ(reader: Reader) -> None:
    """Another source gives other matches; contributions are logits."""
    reader.patch("sketch", 0).focus()
    assert reader.lit("photo") == [0, 1]
    reader.tab.locator("[value=attention]").check()
    assert reader.lit("photo") == [0, 7]
    assert reader.tab.locator(".line[data-sketch='0']").get_attribute("data-photo") == "7"
    reader.tab.locator("[value=contribution]").check()
    assert reader.text("status").endswith("0.90 logits")


def test_heads_have_their_own_places(reader: Reader) -> None:
    """A head's attention is drawn where it looks, in its colour, and not at the places that get little."""
    drawn = reader.tab.locator("#stage .attention rect")
    assert drawn.count() == 0
    reader.tab.locator("#attention").check()
    reader.tab.get_by_label("mean").uncheck()
    assert drawn.count() == 0
    reader.tab.get_by_label("head 1").check()
    where = [[one.get_attribute("x"), one.get_attribute("y")] for one in drawn.all()]
    assert where == [["0", "0"], ["80", "40"]]
    reader.tab.get_by_label("head 2").check()
    assert len({one.get_attribute("fill") for one in drawn.all()}) == 2
    reader.tab.locator("#attention").uncheck()
    assert drawn.count() == 0


def test_the_score_and_its_parts(reader: Reader) -> None:
    """The reader learns the score and what makes it up."""
    assert reader.text("score").startswith("The network rates this pair 0.90")
    parts = reader.tab.locator("#parts .number").all_text_contents()
    assert parts == ["+2.50", "+1.00", "−2.00", "+1.50"]  # noqa: RUF001, a minus as it is printed


def test_the_contrast_names_both_photos(reader: Reader) -> None:
    """Blue patches speak for the photo, orange ones for the other."""
    section = reader.tab.locator("#contrast")
    assert section.locator("h2").text_content() == "Why this one rather than owl.webp"
    assert "hen.webp 0.90 and owl.webp 0.45" in str(section.text_content())
    assert section.locator("img").count() == 3
    fills = section.locator(".frame rect").evaluate_all("all => all.map(one => getComputedStyle(one).fill)")
    assert fills == ["rgb(0, 103, 184)", "rgb(230, 97, 0)", "rgb(0, 103, 184)"] * 3


def test_the_kernel_shows_its_cells(reader: Reader) -> None:
    """Pointing at a cell, or reaching it with the keys, tells which cells it is of, and how alike they are."""
    map_ = reader.tab.locator("#kernel canvas")
    size = map_.bounding_box()["width"] / 9
    map_.hover(position={"x": 3.5 * size, "y": 1.5 * size})
    assert reader.text("cell") == "Sketch cell row 1, column 2 with photo cell row 2, column 1: cosine −0.70"  # noqa: RUF001
    map_.focus()
    reader.tab.keyboard.press("ArrowDown")
    assert reader.text("cell").startswith("Sketch cell row 1, column 3 with photo cell row 2, column 1")
    outlined = reader.tab.locator("#kernel figure .cased").evaluate_all(
        "all => all.map(one => [one.x, one.y].map(v => v.baseVal.value))"
    )
    assert outlined == [[80, 0], [80, 0], [0, 40], [0, 40]]


def test_a_page_without_places_in_the_kernel_and_without_contrast(browser: Any, tmp_path: Path) -> None:
    """The page says why it has no map, and has no section on another photo."""
    document = explanation() | {"kernel": None}
    del document["contrast"]
    reader = Reader(browser, written(tmp_path, document))
    assert "no places of the pictures" in reader.text("kernel")
    assert reader.tab.locator("canvas").count() == 0 and not reader.tab.locator("#contrast").is_visible()
    reader.tab.close()


def test_a_pair_without_matches(browser: Any, tmp_path: Path) -> None:
    """Nothing breaks where no two patches choose each other."""
    document = explanation()
    document["matches"]["cosine"] = []
    document["nearest"]["cosine"]["sketch"][0] = []
    reader = Reader(browser, written(tmp_path, document))
    assert reader.text("count") == "No two patches are each other's best."
    reader.patch("sketch", 0).hover()
    assert reader.text("status").endswith("no patch of the photo answers it")
    reader.tab.close()


def test_names_are_text(browser: Any, tmp_path: Path) -> None:
    """A name runs nothing and adds no element, whatever is in it; a name that is no UTF-8 can be written too."""
    reader = Reader(browser, written(tmp_path, explanation(EVIL, EVIL, EVIL + "\udcff\u2028")))
    assert reader.text("names") == f"{EVIL} and {EVIL}" == reader.tab.title()
    assert EVIL in reader.text("contrast")
    assert reader.tab.locator("[onerror], img:not([src^='data:'])").count() == 0
    assert [url for url in reader.noise if not url.startswith("data:")] == [reader.url]
    reader.tab.close()


def test_dark_and_light(browser: Any, file: Path) -> None:
    """The page takes the reader's scheme, and its text can be read in both."""
    dark, light = (Reader(browser, file, color_scheme=scheme) for scheme in ("dark", "light"))
    assert dark.background() != light.background()
    for reader in (dark, light):
        inks = "all => [...new Set(all.map(one => getComputedStyle(one).color))]"
        for ink in reader.tab.locator("body :is(h1, h2, p, span, td, th, label, output, footer)").evaluate_all(inks):
            assert contrast(ink, reader.background()) >= 4.5
    dark.tab.close()
    light.tab.close()


def contrast(*colours: str) -> float:
    """The contrast of two colours, as the Web Content Accessibility Guidelines have it."""

    def luminance(colour: str) -> float:
        parts = (int(value) / 255 for value in re.findall(r"\d+", colour))
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    low, high = sorted(map(luminance, colours))
    return (high + 0.05) / (low + 0.05)


def test_every_control_has_a_name(reader: Reader) -> None:
    """A reader who hears the page knows what each control does."""
    name = "one => one.ariaLabel || [...one.labels].map(label => label.textContent).join('')"
    for control in reader.tab.locator("input, canvas, .patch, [role=group]").all():
        assert control.evaluate(name).strip()


@pytest.mark.parametrize("width", [360, 700])
def test_nothing_is_wider_than_the_window(browser: Any, tmp_path: Path, width: int) -> None:
    """Even with long names, and with everything open."""
    long = "a-name-without-a-space_" * 5 + ".png"
    file = written(tmp_path, explanation(long, long, long))
    reader = Reader(browser, file, viewport={"width": width, "height": 800})
    reader.tab.locator("summary").click()
    reader.tab.locator("#attention").check()
    assert reader.tab.evaluate("document.documentElement.scrollWidth") <= width
    reader.tab.close()


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    """A page of two photos of a camera can still be sent; a drawing of few colours stays without loss."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (2000, 3000, 3), np.uint8))
    document = explanation()
    del document["contrast"]
    pictures = {"sketch": Image.new("RGB", (3000, 2000), "white"), "photo": noise}
    explanation_page.write_page(document, pictures, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "data:image/png" in text and "data:image/jpeg" in text
    assert len(text) < 1_000_000
