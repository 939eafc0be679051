"""The page of `zse draw`, as people meet it in a browser: with the shipped network, on photos of the demo."""

from __future__ import annotations

import base64
import contextlib
import importlib.resources
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers.commands import Zse, call
from helpers.demo import DEMO
from helpers.drawings import CHROMIUM, COCKTAIL, DRAWINGS, FLAGS, Stroke, draw, wait_until
from zsecli.model.spec import ModelSpec
from zsecli.serve.server import ServeOptions, listen, open_server

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
uvicorn = pytest.importorskip("uvicorn", reason="zse draw needs the extra draw")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]
POLICY_WATCH = "addEventListener('securitypolicyviolation', event => console.error(event.violatedDirective))"
NEVER_ABORT = "AbortController.prototype.abort = AbortSignal.prototype.throwIfAborted = () => {}"
AFTER_PAINTING = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
COCKTAIL_PHOTO = "drink/1F378__twemoji.webp"
ANCHOR_SKETCH = DEMO / "sketch" / "transport-water" / "2693__noto-font-light.png"
HOSTILE = [
    "<img src=x onerror=alert(1)>.webp",
    "\"'&amp;{{data}}\u202egpj.webp",
    "a b\nc%2f?#.webp",
    "n" * 240 + ".webp",
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where `zse draw` shows one vendor's photos of the demo, and some with names that are meant to do harm."""
    folder = tmp_path_factory.mktemp("draw")
    for file in (DEMO / "photo").glob("*/*__twemoji.webp"):
        (folder / "photos" / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / "photos" / file.parent.name)
    (folder / "photos" / "<b>hostile").mkdir()
    for name in HOSTILE:
        shutil.copy(DEMO / "photo" / "lock" / "1F512__twemoji.webp", folder / "photos" / "<b>hostile" / name)
    call(folder, "embed", "photos", "--modality", "photo", "-o", "photos.h5", ZSE_MODEL="small").ok()
    with serving(folder / "photos.h5", "small") as url:
        yield url


@contextlib.contextmanager
def serving(store: Path, model: str) -> Iterator[str]:
    """The address of a server in a thread."""
    request = ServeOptions(store=store, name=store.stem, model=ModelSpec.parse(model), shortlist=12)
    with (
        listen("127.0.0.1", 0) as listening,
        open_server(request, listening.getsockname()[1]) as server,
    ):
        running = uvicorn.Server(uvicorn.Config(server.app(), log_level="critical", lifespan="off", ws="none"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{server.access.port}/?token={server.access.token}"
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the tests of this file."""
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Visitor:
    """Somebody with the page open, who notes every message, dialog, foreign request and breach of the policy."""

    def __init__(self, chromium: Any, address: str, before: Callable[[Any], None], **settings: Any) -> None:
        usual = {"viewport": {"width": 1280, "height": 860}, "permissions": ["clipboard-read", "clipboard-write"]}
        self.context = chromium.new_context(**{**usual, **settings})
        self.page = page = self.context.new_page()
        self.noise: list[str] = []
        self.searches: list[str] = []
        origin = address.split("/?")[0]
        page.add_init_script(POLICY_WATCH)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.noise.append(str(error)))
        page.on("dialog", lambda dialog: (self.noise.append("dialog"), dialog.dismiss()))
        page.on("request", lambda request: self._note(request, origin))
        before(page)
        page.goto(address)
        page.wait_for_selector("body[data-ready]")

    def _hear(self, message: Any) -> None:
        if "429 (Too Many Requests)" not in message.text:  # noted where the machine is slow; the page asks again
            self.noise.append(message.text)

    def _note(self, request: Any, origin: str) -> None:
        if not request.url.startswith((origin, "blob:", "data:")):
            self.noise.append(request.url)
        if "/search" in request.url or "/like" in request.url:
            self.searches.append(request.url.split("?")[1])

    def draw(self, strokes: list[Stroke]) -> None:
        draw(self.page, strokes)

    def hits(self) -> list[str]:
        """The names of the hits in their order."""
        titles = self.page.locator(".hit").evaluate_all("all => all.map(one => one.title)")
        return [title.rpartition("\n")[0] for title in titles]

    def wait_until(self, script: str) -> None:
        wait_until(self.page, script)

    def wait_for_hits(self, how: str = "part by part") -> list[str]:
        """The hits of what is on the paper, once they are there."""
        self.wait_until(f"document.getElementById('about').textContent.includes({how!r})")
        return self.hits()

    def wait_for_no_hits(self) -> None:
        self.wait_until("!document.querySelector('.hit')")

    def pixels(self) -> str:
        """What is on the screen's paper, once all is painted."""
        self.page.evaluate(AFTER_PAINTING)
        return str(self.page.evaluate("canvas.toDataURL()"))

    def text(self, name: str) -> str:
        return str(self.page.locator(f"#{name}").text_content())

    def focused(self) -> str:
        """The id of the element with the focus, or its row."""
        return str(self.page.evaluate("document.activeElement.id || document.activeElement.dataset.row || ''"))

    def width(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def give(self, how: str, data: bytes, name: str = "sheet.png", kind: str = "image/png") -> None:
        """Paste or drop a file."""
        script = """([how, data, name, type]) => {
            const held = new DataTransfer();
            held.items.add(new File([Uint8Array.from(atob(data), sign => sign.charCodeAt(0))], name, {type}));
            const given = {bubbles: true, cancelable: true};
            document.body.dispatchEvent(how === 'paste' ? new ClipboardEvent(how, {...given, clipboardData: held})
                                                        : new DragEvent(how, {...given, dataTransfer: held}));
        }"""
        self.page.evaluate(script, [how, base64.b64encode(data).decode(), name, kind])


Visit = Callable[..., Visitor]


@pytest.fixture
def visit(chromium: Any, address: str) -> Iterator[Visit]:
    """Opens the page; no visitor may have met an error, a breach of the policy or a request to elsewhere."""
    visitors: list[Visitor] = []

    def opens(before: Callable[[Any], None] = lambda page: None, **settings: Any) -> Visitor:
        visitors.append(Visitor(chromium, address, before, **settings))
        return visitors[-1]

    yield opens
    for visitor in visitors:
        visitor.context.close()
        assert visitor.noise == []


def picture(change: Callable[[np.ndarray], np.ndarray] = lambda grey: grey) -> bytes:
    """A PNG of the demo's drawing of an anchor."""
    grey = np.asarray(Image.open(ANCHOR_SKETCH).convert("L").resize((600, 600))).astype(float)
    file = io.BytesIO()
    Image.fromarray(np.clip(change(grey), 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def as_photographed(grey: np.ndarray) -> np.ndarray:
    """A sheet in light that falls off to one side."""
    light = np.linspace(0.35, 0.95, grey.shape[1])
    return (0.25 + 0.75 * grey / 255) * light * 255


def test_the_mouse_draws_and_finds(visit: Visit) -> None:
    """First by [Ret], then re-ranked when the hand rests; the live region says what is best."""
    visitor = visit()
    assert visitor.page.locator(".hit").count() == 0 and visitor.page.locator("#empty").is_visible()
    assert visitor.text("gallery") == "71 photos of photos, model small"
    visitor.draw(COCKTAIL)
    assert visitor.wait_for_hits()[0] == COCKTAIL_PHOTO
    asked = [dict(part.split("=") for part in search.split("&")) for search in visitor.searches]
    assert [(query["seq"], query["by"]) for query in asked if query["offset"] == "0"][-2:] == [
        ("4", "ret"),
        ("4", "cascade"),
    ]
    assert visitor.page.locator("#empty").is_hidden()
    visitor.wait_until("live.textContent.includes('best 1F378__twemoji')")
    first = visitor.page.locator(".hit").first
    assert re.search(r"drink.*1F378__twemoji.*\d+\s%.of the usual best", first.inner_text().replace("\n", " "))
    assert visitor.text("paper-summary") == "On the paper: 4 strokes."


def test_nothing_is_reranked_while_the_hand_draws(visit: Visit) -> None:
    """A stroke that has begun lets the hits rest."""
    visitor = visit()
    visitor.draw(COCKTAIL[:1])
    visitor.page.mouse.down()
    visitor.wait_for_hits("the whole picture")
    visitor.page.wait_for_timeout(300)
    assert not any("cascade" in search for search in visitor.searches)
    visitor.page.mouse.up()
    visitor.wait_for_hits()


def test_a_finger_draws_and_does_not_scroll(visit: Visit) -> None:
    visitor = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    touch(visitor, COCKTAIL)
    assert visitor.wait_for_hits()[0] == COCKTAIL_PHOTO
    assert visitor.page.evaluate("scrollY") == 0
    visitor.page.locator(".hit").first.tap()
    visitor.page.frame_locator("#explanation iframe").locator("#names").wait_for()


def touch(visitor: Visitor, strokes: list[Stroke]) -> None:
    """Draw with a finger, as the browser's own input."""
    box = visitor.page.locator("#paper").bounding_box()
    hand = visitor.context.new_cdp_session(visitor.page)

    def send(kind: str, *points: tuple[float, float]) -> None:
        ends = [{"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]} for x, y in points]
        hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": ends})

    for stroke in strokes:
        send("touchStart", stroke[0])
        for point in stroke[1:]:
            send("touchMove", point)
        visitor.page.wait_for_timeout(100)  # lifted in full flight it would be a fling, which swallows the next tap
        send("touchEnd")


def test_a_palm_beside_the_pen_draws_nothing(visit: Visit) -> None:
    """Neither one that comes before the pen, nor one that comes after it."""
    visitor = visit()
    visitor.page.evaluate("""() => {
        const {left, top, width, height} = paper.getBoundingClientRect();
        const send = (kind, pointerType, pointerId, x, y) => {
            const place = {clientX: left + x * width, clientY: top + y * height};
            const given = {bubbles: true, pointerType, pointerId, pressure: .5, ...place};
            paper.dispatchEvent(new PointerEvent(`pointer${kind}`, given));
        };
        send('down', 'touch', 1, .8, .8);
        send('down', 'pen', 2, .2, .2);
        send('down', 'touch', 3, .9, .9);
        send('move', 'touch', 1, .8, .9);
        send('move', 'touch', 3, .9, .5);
        send('move', 'pen', 2, .6, .2);
        send('up', 'touch', 3, .9, .5);
        send('up', 'touch', 1, .8, .9);
        send('up', 'pen', 2, .6, .2);
    }""")
    assert visitor.text("paper-summary") == "On the paper: 1 stroke."
    assert saved_svg(visitor).count("<path") == 1
    assert re.search(r'd="M102.40 102.40L307.20 102.40"', saved_svg(visitor))


def saved(visitor: Visitor, button: str) -> bytes:
    with visitor.page.expect_download() as download:
        visitor.page.locator(f"#{button}").click()
    return Path(download.value.path()).read_bytes()


def saved_svg(visitor: Visitor) -> str:
    return saved(visitor, "save-svg").decode()


def test_what_is_drawn_is_saved(visit: Visit) -> None:
    """As a PNG of what the screen shows, and as strokes of one width; a picture is within the SVG."""
    visitor = visit()
    visitor.draw(COCKTAIL)
    with Image.open(io.BytesIO(saved(visitor, "save-png"))) as png:
        shown = Image.open(io.BytesIO(base64.b64decode(visitor.pixels().split(",")[1])))
        assert png.size == (1024, 1024) and np.array_equal(np.asarray(png), np.asarray(shown))
    svg = saved_svg(visitor)
    assert svg.count("<path") == 4 and 'stroke-width="15.36"' in svg
    visitor.give("paste", picture())
    visitor.wait_until("document.getElementById('paper-summary').textContent.includes('picture')")
    assert 'href="data:image/png;base64,' in saved_svg(visitor)


def test_undo_redo_and_clear_restore_the_pixels(visit: Visit) -> None:
    """By buttons and by keys; an eraser takes whole strokes, and can be undone too."""
    visitor = visit()
    page = visitor.page
    blank = visitor.pixels()
    visitor.draw(COCKTAIL[:1])
    one = visitor.pixels()
    visitor.draw(COCKTAIL[1:3])
    three = visitor.pixels()
    assert len({blank, one, three}) == 3
    page.locator("#clear").click()
    assert visitor.pixels() == blank and page.locator("#clear").is_disabled()
    visitor.wait_for_no_hits()
    page.locator("#undo").click()
    assert visitor.pixels() == three
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert visitor.pixels() == one
    page.keyboard.press("Control+Shift+z")
    page.locator("#redo").click()
    assert visitor.pixels() == three
    page.get_by_label("Eraser").check()
    visitor.draw([[(0.4, 0.6), (0.6, 0.6)], [(0.4, 0.8), (0.6, 0.95)]])  # across the stem, and the foot
    assert visitor.pixels() == one
    visitor.draw([[(0.9, 0.9), (0.95, 0.95)]])  # nothing there, so nothing to undo
    page.locator("#undo").click()
    page.locator("#undo").click()
    assert visitor.pixels() == three
    visitor.wait_for_hits()
    page.locator("#paper").press("Delete")
    assert visitor.pixels() == blank


def test_an_answer_that_comes_late_is_never_shown(visit: Visit) -> None:
    """Of an earlier drawing, or by [Ret] after the re-ranked one; even where the browser cannot call a request back."""
    held: list[Any] = []

    def hold(page: Any) -> None:
        page.add_init_script(NEVER_ABORT)
        page.route("**/search?seq=1&**", lambda route: held.append(route))

    visitor = visit(hold)
    visitor.draw(COCKTAIL[:1])
    visitor.page.wait_for_timeout(300)  # the hand rests, so both kinds of search are out
    assert len(held) == 2
    visitor.draw(COCKTAIL[1:2])
    shown = visitor.wait_for_hits()
    for route in held:
        answer = {"seq": 1, "by": "cascade", "ms": 1, "changes": ["late"], "total": 71, "nothing": True, "hits": []}
        with contextlib.suppress(playwright.Error):
            route.fulfill(json=answer)
    visitor.page.wait_for_timeout(200)
    assert visitor.hits()[: len(shown)] == shown
    assert visitor.page.locator("#nothing").is_hidden() and visitor.page.locator("#said").is_hidden()


def test_the_order_by_ret_does_not_replace_the_reranked_one(visit: Visit) -> None:
    held: list[Any] = []
    visitor = visit(lambda page: page.route("**/search?seq=1&by=ret**", lambda route: held.append(route)))
    visitor.draw(DRAWINGS["umbrella"][:1])
    shown = visitor.wait_for_hits()
    for route in held:
        route.continue_()
    visitor.page.wait_for_timeout(300)
    assert visitor.hits()[: len(shown)] == shown and "part by part" in visitor.text("about")


def test_a_picture_is_pasted_dropped_or_chosen(visit: Visit) -> None:
    """A photographed sheet too, and one drawn bright on dark: what was done to them is said."""
    visitor = visit()
    visitor.give("paste", picture(as_photographed))
    assert visitor.wait_for_hits()[0] == "transport-water/2693__twemoji.webp"
    assert visitor.text("said") == "sheet.png: lit unevenly, so evened out."
    evened = visitor.pixels()
    visitor.give("drop", picture(lambda grey: 255 - grey), "board.png")
    visitor.wait_until("said.textContent === 'board.png: drawn bright on dark, so inverted.'")
    assert visitor.pixels() != evened
    visitor.page.locator("#undo").click()
    assert visitor.pixels() == evened
    chosen = {"name": "clean.png", "mimeType": "image/png", "buffer": picture()}
    visitor.page.locator("#file").set_input_files(files=[chosen])
    visitor.wait_until("said.textContent === 'clean.png: taken as it is.'")
    visitor.page.get_by_label("Start from hot beverage").click()
    visitor.wait_until("said.textContent === 'hot beverage: taken as it is.'")
    assert visitor.wait_for_hits()[0] == "drink/2615__twemoji.webp"


def test_what_is_no_picture_is_refused(visit: Visit) -> None:
    """The paper stays as it is."""
    visitor = visit()
    visitor.draw(COCKTAIL[:1])
    before = visitor.pixels()
    visitor.give("drop", b"hello", "letter.txt", "text/plain")
    assert visitor.text("said") == "That is no picture file."
    visitor.give("drop", b"hello", "<b>x</b>.png")
    visitor.wait_until("said.textContent.startsWith('<b>x</b>.png: the picture cannot be read')")
    assert visitor.pixels() == before
    assert "422" in visitor.noise.pop()  # which Chromium notes by itself


def test_the_page_says_that_nothing_looks_like_it(visit: Visit) -> None:
    """Where the best photo scores as scribbles do, the page says so, and shows the nearest all the same."""

    def change(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(json=answer.json() | {"nothing": True})

    visitor = visit(lambda page: page.route("**/search?**", change))
    visitor.draw(COCKTAIL[:1])
    visitor.wait_for_hits()
    assert visitor.page.get_by_text("Nothing here looks like it", exact=True).is_visible()
    assert visitor.page.locator(".hit").count() >= 24
    visitor.page.unroute("**/search?**")
    visitor.draw(COCKTAIL[1:])
    visitor.wait_until("document.getElementById('nothing').hidden")


def test_a_busy_server_is_asked_again(visit: Visit) -> None:
    asked: list[str] = []

    def refuse_once(route: Any) -> None:
        asked.append(route.request.url)
        busy = {"error": "too much is waiting", "hint": "ask again in a moment"}
        route.fulfill(status=429, json=busy) if len(asked) == 1 else route.continue_()

    visitor = visit(lambda page: page.route("**/search?**", refuse_once))
    visitor.draw(COCKTAIL)
    assert visitor.wait_for_hits()[0] == COCKTAIL_PHOTO


def test_a_server_that_has_ended(visit: Visit) -> None:
    """The page says what to do, and goes on once the server is there again."""
    visitor = visit()
    visitor.page.route("**/search?**", lambda route: route.abort())
    visitor.draw(COCKTAIL[:1])
    visitor.wait_until("!trouble.hidden")
    assert "Start it again" in visitor.text("trouble")
    visitor.page.unroute("**/search?**")
    visitor.draw(COCKTAIL[1:])
    visitor.wait_for_hits()
    assert visitor.page.locator("#trouble").is_hidden()
    visitor.noise.clear()


def test_more_hits_come_by_scrolling(visit: Visit) -> None:
    """All photos in the end, each once."""
    visitor = visit()
    visitor.draw(COCKTAIL[:2])
    visitor.wait_for_hits()
    for _ in range(12):
        visitor.page.mouse.wheel(0, 3000)
        visitor.page.mouse.move(900, 400)
        visitor.page.wait_for_timeout(80)
    visitor.wait_until("document.querySelectorAll('.hit').length === 71")
    assert len(set(visitor.hits())) == 71
    assert visitor.page.locator(".divider").count() == 1  # after the re-ranked ones
    assert visitor.page.locator("#paper").bounding_box()["y"] >= 0  # which stays in sight


def test_hits_of_one_group(visit: Visit) -> None:
    visitor = visit()
    visitor.draw(COCKTAIL[:2])
    visitor.wait_for_hits()
    visitor.page.locator("#group").select_option("plant-flower")
    visitor.wait_until("document.getElementById('about').textContent.startsWith('7 photos, compared part by part')")
    assert {name.split("/")[0] for name in visitor.hits()} == {"plant-flower"}


def test_pointing_at_a_hit_joins_it_to_the_strokes(visit: Visit) -> None:
    """Lines from ink on the paper into the photo; they go when the pointer leaves, and follow when the page scrolls."""
    visitor = visit()
    visitor.draw(COCKTAIL)
    visitor.wait_for_hits()
    hit = visitor.page.locator(".hit").nth(1)
    hit.hover()
    visitor.page.wait_for_selector("#overlay .line")
    assert 4 <= visitor.page.locator("#overlay .line").count() <= 12
    check_line_ends(visitor, 1)
    visitor.page.mouse.wheel(0, 60)
    visitor.wait_until("scrollY === 60")
    visitor.pixels()
    check_line_ends(visitor, 1)
    visitor.page.mouse.move(600, 5)
    visitor.wait_until("!document.querySelector('#overlay .line')")


def check_line_ends(visitor: Visitor, hit: int) -> None:
    """Fails unless every line begins near ink, and ends in the photo of that hit."""
    circles = "[...one.querySelectorAll('circle')].map(end => [end.cx.baseVal.value, end.cy.baseVal.value])"
    ends = visitor.page.locator("#overlay .line").evaluate_all(f"all => all.map(one => {circles})")
    paper = visitor.page.locator("#paper").bounding_box()
    photo = visitor.page.locator(".hit .picture").nth(hit).bounding_box()
    ink = np.array([point for stroke in COCKTAIL for point in stroke])
    for (x, y), (u, v) in ends:
        place = (x - paper["x"]) / paper["width"], (y - paper["y"]) / paper["height"]
        assert np.hypot(*(ink - place).T).min() < 0.12
        assert photo["x"] <= u <= photo["x"] + photo["width"] and photo["y"] <= v <= photo["y"] + photo["height"]


def test_the_explanation_of_a_hit(visit: Visit) -> None:
    """The page of zse explain, another photo to set it against, the synthesis, the path, the page as a file."""
    visitor = visit()
    page = visitor.page
    visitor.draw(COCKTAIL)
    other = visitor.wait_for_hits()[1]
    page.locator(".hit").first.click()
    inside = page.frame_locator("#explanation iframe")
    inside.locator("#names").filter(has_text="drink/1F378__twemoji.webp").wait_for()
    assert inside.locator(".line").count() > 0
    page.locator("#contrast").select_option(index=1)
    inside.locator("#contrast h2").filter(has_text=other).wait_for()
    with page.expect_download() as download:
        page.locator("#save-page").click()
    assert download.value.suggested_filename == "why-1F378__twemoji.html"
    page.get_by_label("In the sketch's shape").check()
    visitor.wait_until("document.querySelector('#explanation-body img:not(.waits)')?.naturalWidth > 100")
    page.get_by_label("The photo").check()
    visitor.wait_until("document.querySelector('#explanation-body img:not(.waits)')?.src.includes('/photo/')")
    page.locator("#copy").click()
    visitor.wait_until("document.getElementById('path').textContent.startsWith('Copied: ')")
    assert page.evaluate("navigator.clipboard.readText()").endswith(f"photos/{COCKTAIL_PHOTO}")
    page.locator("#like").click()
    assert page.locator("#explanation").is_hidden()
    visitor.wait_until("document.getElementById('found-title').textContent === 'Photos like 1F378__twemoji'")
    assert COCKTAIL_PHOTO not in visitor.hits() and visitor.hits()[0].startswith("drink/")
    page.locator("#back").click()
    assert visitor.wait_for_hits()[0] == COCKTAIL_PHOTO


def test_the_page_works_by_keys_alone(visit: Visit) -> None:
    """From the address to the explanation and back, without a pointer."""
    visitor = visit()
    press = visitor.page.keyboard.press
    tab_to(visitor, "paper")
    keys = visitor.page.keyboard
    press("Space")  # the stem
    for _ in range(3):
        press("Shift+ArrowDown")
    press("Space")
    for _ in range(2):
        press("Shift+ArrowLeft")
    press("Space")  # the foot
    for _ in range(4):
        press("Shift+ArrowRight")
    press("Space")
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowUp", "ArrowUp"):
        press(f"Shift+{key}")
    press("Space")  # the bowl
    keys.down("ArrowUp")
    for _ in range(4):
        press("Shift+ArrowLeft")
    keys.up("ArrowUp")
    for _ in range(8):
        press("Shift+ArrowRight")
    keys.down("ArrowDown")
    for _ in range(4):
        press("Shift+ArrowLeft")
    keys.up("ArrowDown")
    press("Space")
    assert visitor.text("paper-summary") == "On the paper: 3 strokes."
    assert visitor.wait_for_hits()[0] == COCKTAIL_PHOTO
    tab_to(visitor, "group")
    press("Tab")
    first = visitor.focused()
    assert visitor.page.evaluate("document.activeElement.title").startswith(COCKTAIL_PHOTO)
    visitor.page.wait_for_selector("#overlay .line")
    press("ArrowRight")
    second = visitor.focused()
    assert second.isdigit() and second != first
    press("ArrowLeft")
    assert visitor.focused() == first
    press("Enter")
    visitor.page.frame_locator("#explanation iframe").locator("#names").wait_for()
    press("Escape")
    assert visitor.page.locator("#explanation").is_hidden() and visitor.focused() == first
    press("l")
    visitor.wait_until("document.getElementById('found-title').textContent.startsWith('Photos like')")
    assert visitor.focused().isdigit()


def tab_to(visitor: Visitor, name: str) -> None:
    """Press Tab until an element has the focus, which must be seen to have it."""
    has_ring = """(() => {
        const one = document.activeElement, label = one.labels?.[0] ?? one;
        return [one, label].some(part => getComputedStyle(part).outlineStyle !== 'none');
    })()"""
    for _ in range(30):
        visitor.page.keyboard.press("Tab")
        assert visitor.page.evaluate(has_ring), visitor.page.evaluate("document.activeElement.outerHTML")
        if visitor.focused() == name:
            return
    raise AssertionError(f"Tab does not reach {name}")


def test_escape_within_the_explanation_closes_it(visit: Visit) -> None:
    """First it lets go of what is held there."""
    visitor = visit()
    visitor.draw(COCKTAIL[:2])
    visitor.wait_for_hits()
    visitor.page.locator(".hit").first.click()
    inside = visitor.page.frame_locator("#explanation iframe")
    inside.locator(".patch[data-side=photo]").nth(5).focus()
    visitor.page.keyboard.press("Escape")
    assert visitor.page.locator("#explanation").is_visible()
    visitor.page.keyboard.press("Escape")
    visitor.wait_until("!document.getElementById('explanation').open")


def test_names_are_text(visit: Visit) -> None:
    """Of photos and of folders, in the hits, the filter and the explanation."""
    visitor = visit()
    page = visitor.page
    visitor.draw(COCKTAIL[:1])
    visitor.wait_for_hits()
    page.locator("#group").select_option("<b>hostile")
    visitor.wait_until("document.getElementById('about').textContent.startsWith('4 photos, compared')")
    assert sorted(visitor.hits()) == sorted(f"<b>hostile/{name}" for name in HOSTILE)
    assert "<b>hostile" in page.locator(".group-name").all_text_contents()
    assert visitor.width() <= 1280
    names = page.locator(".hit .name").all_text_contents()
    page.locator(".hit").nth(names.index("<img src=x onerror=alert(1)>")).click()
    page.frame_locator("#explanation iframe").locator("#names").filter(has_text="<img src=x onerror").wait_for()
    assert page.locator("#explanation-title").text_content() == f"<b>hostile/{HOSTILE[0]}"
    assert page.locator("[onerror], b, .hit img:not([src^='/photo/'])").count() == 0


@pytest.mark.parametrize("size", [(320, 640), (640, 430)], ids=["phone", "200 percent of 1280"])
def test_nothing_is_wider_than_the_window(visit: Visit, size: tuple[int, int]) -> None:
    """Blank, with hits, and with the explanation open; the photos lie below the paper."""
    visitor = visit(viewport={"width": size[0], "height": size[1]}, device_scale_factor=2)
    assert visitor.width() <= size[0]
    visitor.draw(COCKTAIL[:2])
    visitor.wait_for_hits()
    assert visitor.width() <= size[0]
    paper, hits = (visitor.page.locator(name).bounding_box() for name in ("#paper", "#hits"))
    assert hits["y"] > paper["y"] + paper["height"]
    visitor.page.locator(".hit").first.focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.frame_locator("#explanation iframe").locator("#names").wait_for()
    assert visitor.width() <= size[0]
    assert visitor.page.frames[1].evaluate("document.documentElement.scrollWidth") <= size[0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit: Visit, scheme: str) -> None:
    """Blank, with hits of nothing, with lines, with help, with the explanation and what is in it."""
    # what is no matter of colours is the same in the dark
    rules = {"resultTypes": ["violations"]} | ({"runOnly": ["color-contrast"]} if scheme == "dark" else {})
    axe = importlib.resources.files("axe_playwright_python") / "axe.min.js"
    visitor = visit(color_scheme=scheme)
    page = visitor.page

    def check(frame: Any) -> None:
        # as a string: a script element is what the page's policy is there to refuse
        frame.evaluate(axe.read_text("utf-8") + ";0")
        found = frame.evaluate(f"axe.run({json.dumps(rules)}).then(found => found.violations)")
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []

    check(page.main_frame)
    visitor.draw(COCKTAIL[:2])
    visitor.wait_for_hits()
    page.locator(".hit").first.focus()
    page.wait_for_selector("#overlay .line")
    page.evaluate("for (const part of [nothing, trouble, said]) part.hidden = false")
    page.evaluate("for (const part of [trouble, said]) part.textContent = 'A sentence.'")
    check(page.main_frame)
    page.locator("#open-help").click()
    check(page.main_frame)
    page.keyboard.press("Escape")
    page.locator(".hit").first.click()
    page.frame_locator("#explanation iframe").locator("#names").wait_for()
    check(page.main_frame)
    check(page.frames[1])


def test_a_model_that_cannot_explain(chromium: Any, zse: Zse, tmp_path: Path, pictures: Path) -> None:
    """Photos are found, and shown large; nothing is offered that such a model cannot do."""
    zse("embed", pictures / "photo", "--modality", "photo", "-o", "photos.h5").ok()
    with serving(tmp_path / "photos.h5", "pixels") as url:
        visitor = Visitor(chromium, url, lambda page: None)
        visitor.draw(COCKTAIL[:2])
        first = visitor.wait_for_hits("the whole picture")[0]
        assert "not explained" in visitor.text("colophon")
        visitor.page.locator(".hit").first.click()
        assert visitor.text("explanation-title") == first
        visitor.wait_until("document.querySelector('#explanation-body img:not(.waits)')?.src.includes('/photo/')")
        for part in ("views", "contrast-label", "save-page"):
            assert visitor.page.locator(f"#{part}").is_hidden()
        assert visitor.noise == [] and not any("cascade" in search for search in visitor.searches)
        visitor.context.close()


def test_the_live_region_speaks_at_most_once_a_second(visit: Visit) -> None:
    visitor = visit()
    visitor.page.evaluate("""() => {
        window.spoken = [];
        const watch = new MutationObserver(() => spoken.push(performance.now()));
        watch.observe(live, {childList: true, characterData: true, subtree: true});
    }""")
    visitor.draw(COCKTAIL[:2])
    visitor.wait_for_hits()
    for hit in visitor.page.locator(".hit").all()[:8]:
        hit.hover()
    visitor.page.wait_for_timeout(1100)
    spoken = visitor.page.evaluate("spoken")
    assert len(spoken) >= 2 and np.diff(spoken).min() > 900


def test_no_motion_for_who_wants_none(visit: Visit) -> None:
    moving = "getComputedStyle(undo).transitionDuration"
    assert visit(reduced_motion="reduce").page.evaluate(moving) == "0s"
    assert visit(reduced_motion="no-preference").page.evaluate(moving) != "0s"


def test_the_paper_is_white_in_the_dark(visit: Visit) -> None:
    """As the network and the saved picture have it."""
    visitor = visit(color_scheme="dark")
    assert visitor.page.evaluate("[...canvas.getContext('2d').getImageData(9, 9, 1, 1).data]") == [255, 255, 255, 255]
    assert visitor.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(21, 23, 27)"
