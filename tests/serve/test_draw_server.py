"""The server of `zse draw`: what it answers, and everything that it refuses."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import io
import json
import logging
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw

from helpers.commands import Zse, call
from helpers.demo import DEMO
from helpers.files import files
from helpers.tiny import TINY, build
from zsecli.errors import StoreError, UsageError, ZseError
from zsecli.model import checkpoint
from zsecli.model.spec import ModelSpec
from zsecli.runtime.log_levels import NOTICE
from zsecli.serve import server as serving
from zsecli.serve.app import DrawServer
from zsecli.serve.drawings import BYTES, CAPACITY
from zsecli.serve.levels import SCRIBBLES, Levels, compute_standings
from zsecli.serve.rerank import Superseded
from zsecli.serve.scribbles import draw_scribble
from zsecli.serve.worker import QueueFull, Worker

PORT = 8788
ADDRESS = f"http://127.0.0.1:{PORT}"
HOSTILE = "<img src=x onerror=alert(1)>&\"'.png"
GONE, CHANGED, LINKED, TURNED, MOVED = "gone.png", "changed.png", "linked.png", "turned.jpg", "moved.png"
Server = tuple[DrawServer, Path]


def request_of(store: Path, model: str | Path, **settings: Any) -> serving.ServeOptions:
    return serving.ServeOptions(store=store, name="things", model=ModelSpec.parse(str(model)), **settings)


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder with tiny.safetensors, and its features of photos in two folders, some of which are to come to harm."""
    folder = tmp_path_factory.mktemp("draw")
    checkpoint.save(build(TINY), folder / "tiny.safetensors")
    photos = folder / "photos"
    for name in ("birds", "locks"):
        shutil.copytree(next((pictures / "photo").glob(f"*{name[:-1]}")), photos / name)
    sources = sorted((photos / "birds").iterdir())
    for name, source in zip((HOSTILE, GONE, CHANGED, LINKED, MOVED), sources, strict=False):
        with Image.open(source) as image:
            image.convert("RGB").save(photos / name)
    with Image.open(sources[0]) as image:
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = 6, "a secret maker"
        image.convert("RGB").resize((200, 100)).save(photos / TURNED, exif=exif)
    call(folder, "embed", "photos", "--modality", "photo", "--model", "tiny.safetensors", "-o", "photos.h5").ok()
    return folder


@pytest.fixture(scope="module")
def server(photo_folder: Path) -> Iterator[Server]:
    """A server over the features of `photo_folder`, and the folder of the photos, which is whole."""
    request = request_of(photo_folder / "photos.h5", photo_folder / "tiny.safetensors", shortlist=6)
    with serving.open_server(request, PORT) as opened:
        yield opened, photo_folder / "photos"


class Browser:
    """A browser in which the printed address was opened, as far as a server sees one."""

    def __init__(self, server: DrawServer, client: str = "tab", logged_in: bool = True) -> None:
        self.app, self.client = server.app(), client
        self.cookies = {server.access.cookie: server.access.token} if logged_in else {}

    def ask(self, method: str, path: str, content: Any = None, **headers: str) -> httpx.Response:
        async def send() -> httpx.Response:
            # a fault of the server fails the test
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
            settings: Any = {"transport": transport, "base_url": ADDRESS, "cookies": self.cookies, "verify": False}
            async with httpx.AsyncClient(**settings) as client:
                given = {"X-Zse-Client": self.client} | ({"X-Zse": "1"} if method == "POST" else {})
                given |= {name.replace("_", "-"): value for name, value in headers.items()}
                return await client.request(method, path, content=content, headers=given)

        return asyncio.run(send())

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.ask("GET", path, **headers)

    def post(self, path: str, content: Any = None, **headers: str) -> httpx.Response:
        return self.ask("POST", path, content, **headers)

    def search(self, seq: int, picture: bytes, more: str = "&by=ret") -> dict[str, Any]:
        answer = self.post(f"/search?seq={seq}{more}", picture)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def browser(server: Server) -> Browser:
    return Browser(server[0], os.urandom(8).hex())


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """Fails unless the answer is a refusal with this status, in JSON with an error and a hint, that holds `words`."""
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error", "hint"}
    assert all(answer.json().values())
    for word in words:
        assert word in answer.text


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def drawn(size: int = 128, ink: str = "black", paper: str = "white") -> bytes:
    """A ring and a line."""
    image = Image.new("RGB", (size, size), paper)
    pen = ImageDraw.Draw(image)
    pen.ellipse((size * 0.2, size * 0.2, size * 0.7, size * 0.7), outline=ink, width=max(2, size // 30))
    pen.line((size * 0.7, size * 0.7, size * 0.9, size * 0.9), fill=ink, width=max(2, size // 30))
    return png(image)


def row_of(server: Server, name: str) -> int:
    return server[0].engine.gallery.names.index(name)


# who is heard


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8788", "127.0.0.1.evil.example", "localhost.evil.example:8788", "", "[::1"]
)
@pytest.mark.parametrize("path", ["/", "/gallery", "/photo/0", "/static/index.html", "/nonsense"])
def test_a_request_for_another_host_is_refused(browser: Browser, host: str, path: str) -> None:
    refused(browser.get(path, Host=host), 400, "--allow-host")


@pytest.mark.parametrize("host", ["127.0.0.1:8788", "localhost:9999", "LOCALHOST", "[::1]:8788", "127.0.0.1"])
def test_this_machine_has_several_names(browser: Browser, host: str) -> None:
    assert browser.get("/gallery", Host=host).status_code == 200


def test_two_hosts_are_refused(server: Server) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/gallery",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"host", b"evil.example")],
    }
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    asyncio.run(server[0].app()(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 400


@pytest.mark.parametrize("path", ["/search?seq=1", "/why?seq=1&row=0", "/prepare"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1234"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},  # a page of another server of this machine
        {"Sec-Fetch-Site": "cross-site", "Origin": ADDRESS},
        {"X-Zse": "0"},
    ],
    ids=str,
)
def test_another_page_may_not_ask(browser: Browser, path: str, headers: dict[str, str]) -> None:
    refused(browser.post(path, drawn(), **headers), 403)


@pytest.mark.parametrize("path", ["/gallery", "/photo/0", "/path?row=0", "/explain.html?seq=1&row=0", "/like?row=0"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_may_not_read(browser: Browser, path: str, site: str) -> None:
    refused(browser.get(path, Sec_Fetch_Site=site), 403)


def test_the_page_itself_may_ask(browser: Browser) -> None:
    own = {"Origin": ADDRESS, "Sec-Fetch-Site": "same-origin"}
    assert browser.post("/search?seq=1", drawn(), **own).status_code == 200


def test_nobody_is_told_that_another_origin_may_read(browser: Browser) -> None:
    for answer in (browser.get("/gallery"), browser.ask("OPTIONS", "/search", Origin="http://evil.example")):
        assert not [name for name in answer.headers if name.startswith("access-control")]


# the token


PATHS = ["/gallery", "/photo/0", "/static/index.html", "/path?row=0", "/like?row=0", "/example/0", "/nonsense"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookies", [{}, {"zse-draw-8788": "guessed"}, {"zse-draw-8788": ""}, {"other": "x"}], ids=str)
def test_without_the_token_there_is_nothing(server: Server, path: str, cookies: dict[str, str]) -> None:
    stranger = Browser(server[0], logged_in=False)
    stranger.cookies = cookies
    refused(stranger.get(path), 403, "token")
    refused(stranger.post("/search?seq=1", drawn()), 403, "token")


@pytest.mark.parametrize("query", ["", "?token=", "?token=guessed", "?token=%ff%fe", "?Token=x"])
def test_a_person_without_the_token_reads_one_sentence(server: Server, query: str) -> None:
    answer = Browser(server[0], logged_in=False).get("/" + query)
    assert answer.status_code == 403
    assert answer.text == "This page is closed: open the address that zse draw printed, with its token.\n"


def test_a_wrong_token_is_refused_even_with_the_cookie(browser: Browser) -> None:
    assert browser.get("/?token=guessed").status_code == 403


def test_the_token_becomes_a_cookie_and_leaves_the_address(server: Server) -> None:
    access = server[0].access
    answer = Browser(server[0], logged_in=False).get(f"/?token={access.token}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"zse-draw-{PORT}={access.token};")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert access.token not in repr(access)


def test_a_link_on_another_site_leads_to_the_page(server: Server) -> None:
    """A browser would not send the strict cookie with a redirect of such a link: a page from here goes on."""
    token = server[0].access.token
    answer = Browser(server[0], logged_in=False).get(f"/?token={token}", Sec_Fetch_Site="cross-site")
    assert answer.status_code == 200
    assert 'http-equiv="refresh" content="0;url=/"' in answer.text
    assert token not in answer.text


def test_every_run_has_its_own_token(photo_folder: Path, server: Server) -> None:
    request = request_of(photo_folder / "photos.h5", photo_folder / "tiny.safetensors", shortlist=6)
    with serving.open_server(request, PORT + 1) as other:
        assert len(other.access.token) >= 32
        assert other.access.token != server[0].access.token
        assert other.access.cookie != server[0].access.cookie  # of two runs neither logs the other out


def test_every_answer_has_the_headers(browser: Browser, server: Server) -> None:
    stranger = Browser(server[0], logged_in=False)
    wrong = browser.get("/gallery", Host="evil.example")
    answers = [browser.get(path) for path in ("/gallery", "/photo/0", "/nonsense")]
    for answer in (*answers, stranger.get("/"), wrong):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"


# what is asked wrongly


@pytest.mark.parametrize("path", ["/search?seq=1", "/why?seq=1&row=0", "/prepare"])
def test_post_endpoints_refuse_get(browser: Browser, path: str) -> None:
    refused(browser.get(path), 405)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_get_endpoints_refuse_post(browser: Browser, method: str) -> None:
    refused(browser.ask(method, "/gallery", X_Zse="1"), 405)


@pytest.mark.parametrize("row", ["-1", "1000000000", "999999", "x", "1.0", "٣", "0x1", "1e2", "..%2f", "0%2f..", "%00"])
def test_a_photo_row_that_does_not_exist(browser: Browser, row: str) -> None:
    browser.search(1, drawn())
    for path in (f"/photo/{row}", f"/path?row={row}", f"/like?row={row}", f"/explain.html?seq=1&row={row}"):
        refused(browser.get(path), 404)
    refused(browser.post(f"/why?seq=1&row={row}"), 404)
    refused(browser.post(f"/why?seq=1&row=0&contrast={row}"), 404)


@pytest.mark.parametrize(
    "path",
    ["..%2fapp.py", "..%2f..%2ferrors.py", "%2e%2e%2fapp.py", "..%5capp.py", "%2fetc%2fpasswd", "static", ".", "a%00b"],
)
def test_only_the_files_of_the_page_are_sent(browser: Browser, path: str) -> None:
    refused(browser.get(f"/static/{path}"), 404)
    refused(browser.get(f"/example/{path}"), 404)


@pytest.mark.parametrize(
    "query", ["", "?seq=-1", "?seq=x", "?seq=1&top=0", "?seq=1&offset=-1", "?seq=1&by=rn", "?seq=1&top=1e9"]
)
def test_an_invalid_search_query(browser: Browser, query: str) -> None:
    refused(browser.post(f"/search{query}", drawn()), 400)


def test_a_hit_group_that_does_not_exist_is_refused(browser: Browser) -> None:
    refused(browser.post("/search?seq=1&group=nonsense", drawn()), 404)


# what is sent


def test_a_body_that_is_too_long_is_not_read(browser: Browser) -> None:
    taken = 0

    async def much() -> Any:
        nonlocal taken
        while True:
            taken += 2**20
            yield bytes(2**20)

    refused(browser.post("/search?seq=1", much()), 413)
    assert taken <= BYTES + 2 * 2**20
    taken = 0
    refused(browser.post("/prepare", much(), Content_Length=str(BYTES + 1)), 413)
    assert taken <= 2**20


def bomb(side: int) -> bytes:
    """A small PNG that says it has side x side pixels, and would fill them."""
    lines = zlib.compress(bytes(side * (side + 1)), 9)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", lines), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in chunks:
        data += struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data


@pytest.mark.parametrize("path", ["/search?seq=1", "/prepare"])
def test_a_pixel_bomb_is_not_decoded(browser: Browser, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bomb(8000)
    assert len(data) < 100_000

    def load(_: Any) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    refused(browser.post(path, data), 413, "64 megapixels")


@pytest.mark.parametrize(
    "data", [b"", b"not a picture", b"%!PS-Adobe", b"<svg xmlns='x'></svg>", drawn()[:200], b"\x89PNG\r\n\x1a\n"]
)
def test_bytes_that_are_no_picture_are_refused(browser: Browser, data: bytes) -> None:
    refused(browser.post("/search?seq=1", data), 422)
    refused(browser.post("/prepare", data), 422)


def test_blank_paper_finds_nothing(browser: Browser) -> None:
    refused(browser.post("/search?seq=1", png(Image.new("RGB", (64, 64), "white"))), 422, "nothing is drawn")


# photos


def decoded(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_a_photo_comes_small_turned_and_without_what_the_file_says_of_it(server: Server, browser: Browser) -> None:
    answer = browser.get(f"/photo/{row_of(server, TURNED)}?side=80")
    image = decoded(answer)
    assert image.size == (40, 80)
    assert not image.getexif()
    assert b"secret" not in answer.content
    assert (answer.headers["content-type"], answer.headers["x-content-type-options"]) == ("image/jpeg", "nosniff")
    assert answer.headers["cache-control"] == "private, no-cache"
    assert max(decoded(browser.get(f"/photo/{row_of(server, TURNED)}?side=999999999")).size) == 200


def test_a_browser_need_not_fetch_a_photo_twice(server: Server, browser: Browser) -> None:
    row = row_of(server, TURNED)
    first = browser.get(f"/photo/{row}")
    again = browser.get(f"/photo/{row}", If_None_Match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")
    assert browser.get(f"/photo/{row}?side=64", If_None_Match=first.headers["etag"]).status_code == 200


def delete(file: Path, _elsewhere: Path) -> None:
    file.unlink()


def change(file: Path, _elsewhere: Path) -> None:
    Image.new("RGB", (9, 9), "red").save(file)


def link_to_secret(file: Path, elsewhere: Path) -> None:
    file.unlink()
    Image.new("RGB", (9, 9), "red").save(elsewhere)
    file.symlink_to(elsewhere)


def link_to_itself_elsewhere(file: Path, elsewhere: Path) -> None:
    file.rename(elsewhere)
    time.sleep(0.02)  # a file system's clock ticks slowly
    file.symlink_to(elsewhere)


def make_pipe(file: Path, _elsewhere: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def make_folder(file: Path, _elsewhere: Path) -> None:
    file.unlink()
    file.mkdir()


def link_to_nowhere(file: Path, elsewhere: Path) -> None:
    file.unlink()
    file.symlink_to(elsewhere / "nowhere")


HARMS = (delete, change, link_to_secret, link_to_itself_elsewhere, make_pipe, make_folder, link_to_nowhere)


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_a_photo_that_is_not_what_was_embedded_is_not_sent(
    server: Server, browser: Browser, tmp_path: Path, harm: Callable[[Path, Path], None]
) -> None:
    row, file = row_of(server, LINKED), server[1] / LINKED
    kept = file.read_bytes()
    etag = browser.get(f"/photo/{row}").headers["etag"]
    browser.search(1, drawn())
    assert browser.post(f"/why?seq=1&row={row}").status_code == 200
    harm(file, tmp_path / "elsewhere.png")
    try:
        refused(browser.get(f"/photo/{row}"), 410)
        refused(browser.get(f"/photo/{row}", If_None_Match=etag), 410)
        refused(browser.post(f"/why?seq=1&row={row}"), 410)
        refused(browser.get(f"/explain.html?seq=1&row={row}"), 410)
        refused(browser.get(f"/synthesis?seq=1&row={row}"), 410)
    finally:
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink(missing_ok=True)
        file.write_bytes(kept)
    assert browser.get(f"/photo/{row}").status_code == 200


def test_a_gallery_of_links_is_shown(photo_folder: Path, tmp_path: Path) -> None:
    """Large data sets are often folders of links."""
    links = tmp_path / "links"
    links.mkdir()
    for file in (photo_folder / "photos" / "locks").iterdir():
        (links / file.name).symlink_to(file)
    call(tmp_path, "embed", "links", "--modality", "photo", "-o", "links.h5").ok()
    with serving.open_server(request_of(tmp_path / "links.h5", "pixels"), PORT) as server:
        assert Browser(server).get("/photo/0").status_code == 200


def test_the_path_of_a_photo(server: Server, browser: Browser) -> None:
    row = row_of(server, HOSTILE)
    assert browser.get(f"/path?row={row}").json() == {"row": row, "path": str((server[1] / HOSTILE).resolve())}


# hits


def test_the_gallery_says_what_it_is(server: Server, browser: Browser) -> None:
    told = browser.get("/gallery").json()
    names = server[0].engine.gallery.names
    assert (told["photos"], told["name"], told["tokens"], told["by"]) == (len(names), "things", True, "cascade")
    counts = {group["name"]: group["count"] for group in told["groups"]}
    assert counts == {folder: sum(name.startswith(f"{folder}/") for name in names) for folder in ("birds", "locks")}
    assert sum(counts.values()) == len(names) - 6  # of no folder
    assert set(told["levels"]) == {"ret", "relation"}
    assert all(set(level) == {"usual", "nothing"} for level in told["levels"].values())
    assert told["limits"] == {"bytes": BYTES, "pixels": 50_000_000}
    for example in told["examples"]:
        assert decoded(browser.get(example["url"])).size


def test_hits_are_those_of_match(server: Server, browser: Browser, photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sketch.png").write_bytes(drawn())
    embed = ("embed", "sketch.png", "--modality", "sketch", "--model", photo_folder / "tiny.safetensors")
    sketch = call(tmp_path, *embed, "-o", "sketch.h5").ok()
    for by, options in (("ret", ["--by", "ret"]), ("cascade", ["--shortlist", 6])):
        lines = call(
            photo_folder, "match", tmp_path / sketch, "photos.h5", *options, "--top", 6, "--format", "json",
            "--workspace", tmp_path / by,
        ).ok()  # fmt: skip
        expected = [json.loads(line) for line in lines.splitlines()]
        hits = browser.search(1, drawn(), f"&by={by}&top=6")["hits"]
        assert [hit["name"] for hit in hits] == [hit["photo"].removeprefix("photos/") for hit in expected]
        assert np.allclose([hit["score"] for hit in hits], [hit["score"] for hit in expected], atol=2e-4)


def test_pages_of_hits_fit_together(server: Server, browser: Browser) -> None:
    whole = browser.search(1, drawn(), "&by=cascade&top=100")
    assert whole["total"] == len(whole["hits"]) == len(server[0].engine.gallery)
    assert [hit["rank"] for hit in whole["hits"]] == list(range(1, whole["total"] + 1))
    assert [hit["by"] for hit in whole["hits"]] == ["relation"] * 6 + ["ret"] * (whole["total"] - 6)
    pages = [browser.search(1, b"", f"&by=cascade&top=5&offset={offset}")["hits"] for offset in range(0, 40, 5)]
    assert [hit for page in pages for hit in page] == whole["hits"]
    assert all(0 <= hit["share"] <= 1 for hit in whole["hits"])


def test_hits_of_a_group(browser: Browser) -> None:
    found = browser.search(1, drawn(), "&by=cascade&group=locks&top=100")
    assert found["total"] == len(found["hits"]) > 0
    assert {hit["group"] for hit in found["hits"]} == {"locks"}


def test_photos_like_a_photo(server: Server, browser: Browser) -> None:
    row = row_of(server, HOSTILE)  # a copy of one in birds/
    found = browser.get(f"/like?row={row}&top=3").json()
    assert found["hits"][0]["name"].startswith("birds/")
    assert row not in [hit["row"] for hit in found["hits"]]


def test_changes_of_a_drawing_are_reported(browser: Browser) -> None:
    board = drawn(ink="white", paper="black")
    assert browser.search(1, board)["changes"] == ["drawn bright on dark, so inverted"]
    answer = browser.post("/prepare", board)
    assert json.loads(unquote(answer.headers["x-zse-changes"])) == ["drawn bright on dark, so inverted"]
    assert np.array_equal(np.asarray(decoded(answer)), np.asarray(Image.open(io.BytesIO(drawn()))))
    assert browser.search(2, drawn())["changes"] == []


def test_a_large_picture_is_made_smaller(browser: Browser) -> None:
    assert max(decoded(browser.post("/prepare", drawn(3000))).size) == 1024


def test_names_are_text(server: Server, browser: Browser) -> None:
    row = row_of(server, HOSTILE)
    browser.search(1, drawn())
    page = browser.get(f"/explain.html?seq=1&row={row}&download=1")
    assert HOSTILE not in page.text
    assert page.headers["content-disposition"].isascii()
    assert "<" not in page.headers["content-disposition"]


# what scores mean


HUB, OTHER, ASIDE = np.eye(16, dtype=np.float32)[:3]


def cosines_of(vector: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    return np.asarray(gallery @ (vector / np.linalg.norm(vector)), np.float32)


@pytest.fixture(scope="module")
def levels() -> tuple[Levels, np.ndarray]:
    """Levels of a gallery of which one photo, HUB, is like every scribble, and the photos' [Ret]."""
    rng = np.random.default_rng(0)
    photos = np.concatenate([[HUB, OTHER], rng.normal(0, 0.2, (30, 16)).astype(np.float32)])
    photos /= np.linalg.norm(photos, axis=1, keepdims=True)
    scribbles = np.stack([cosines_of(HUB + rng.normal(0, 0.1, 16), photos) for _ in range(SCRIBBLES)])
    levels = Levels(
        baseline=compute_standings(scribbles).mean(0),
        usual=4.0,
        lead=2.0,
        best=float(scribbles.max()) + 0.02,
        usual_relation=0.8,
        nothing_relation=0.4,
    )
    return levels, photos


def test_what_answers_everything_answers_nothing(levels: tuple[Levels, np.ndarray]) -> None:
    known, photos = levels
    scribble = cosines_of(HUB + np.random.default_rng(1).normal(0, 0.1, 16), photos)
    drawing = cosines_of(0.6 * OTHER + 0.8 * ASIDE, photos)
    assert scribble.argmax() == 0
    assert drawing.argmax() == 1
    assert drawing.max() < scribble.max()  # by the cosine alone the scribble would be the better drawing
    assert known.is_nothing(known.judge(scribble))
    assert not known.is_nothing(known.judge(drawing))
    assert known.is_nothing(known.judge(drawing, np.arange(2, 32)))  # in a group without its photo
    assert known.is_nothing(known.judge(scribble), 0.3)
    assert not known.is_nothing(known.judge(scribble), 0.5)  # the relation network knows better


def test_among_few_photos_nothing_stands_out(levels: tuple[Levels, np.ndarray]) -> None:
    known, photos = levels
    few = Levels(baseline=known.baseline[:9], usual=known.usual, lead=known.lead, best=known.best)
    assert not few.is_nothing(few.judge(cosines_of(HUB, photos[:9])))
    alone = Levels(baseline=np.zeros(1, np.float32), usual=known.usual, lead=known.lead, best=known.best)
    assert (alone.judge(np.ones(1, np.float32)).standings == 0).all()


@pytest.mark.fast
def test_shares_are_of_the_usual(levels: tuple[Levels, np.ndarray]) -> None:
    known, _ = levels
    assert [known.share(standing) for standing in (-1.0, 2.0, 4.0, 9.0)] == [0, 0.5, 1, 1]
    assert known.share_relation(0.4) == 0.5


@pytest.mark.fast
def test_scribbles_are_always_the_same() -> None:
    pictures = [np.asarray(draw_scribble(number)) for number in range(8)]
    assert all(picture.shape == (512, 512) and picture.min() == 0 and picture.max() == 255 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == 8
    assert np.array_equal(pictures[3], np.asarray(draw_scribble(3)))


@pytest.mark.network
def test_the_shipped_network_knows_scribbles_from_drawings(pictures: Path, tmp_path: Path) -> None:
    """On few photos; docs/draw.md has the figures of many."""
    call(tmp_path, "embed", pictures / "photo", "--modality", "photo", "--model", "small", "-o", "photos.h5").ok()
    with serving.open_server(request_of(tmp_path / "photos.h5", "small"), PORT) as server:
        browser = Browser(server)
        sketches = sorted((pictures / "sketch").glob("*/*"))[::2]
        drawings = [browser.search(seq, sketch.read_bytes(), "") for seq, sketch in enumerate(sketches)]
        scribbles = [browser.search(100 + n, png(draw_scribble(1000 + n)), "") for n in range(len(sketches))]
    assert sum(answer["nothing"] for answer in drawings) <= len(sketches) // 5
    assert sum(answer["nothing"] for answer in scribbles) >= len(sketches) // 2
    assert np.median([answer["hits"][0]["share"] for answer in drawings]) > 0.9


# why


def test_why_names_places_of_both(server: Server, browser: Browser) -> None:
    browser.search(1, drawn())
    row = row_of(server, TURNED)
    told = browser.post(f"/why?seq=1&row={row}").json()
    assert (told["seq"], told["row"], told["photo"]["name"]) == (1, row, TURNED)
    assert (told["photo"]["width"], told["photo"]["height"]) == (100, 200)  # as shown, not as in the file
    whole = browser.post(f"/why?seq=1&row={row}&full=1").json()
    assert whole["schema"] == "zse-explanation"
    assert whole["photo"]["boxes"] == told["photo"]["boxes"]
    for name in ("width", "height", "grid", "boxes", "strokes"):
        assert whole["sketch"][name] == told["sketch"][name]
    scores = [score for *_, score in told["matches"]]
    assert scores == sorted(scores, reverse=True)
    assert scores
    surest = {tuple(match[:2]) for match in whole["matches"][whole["source"]][:3]}
    assert surest <= {tuple(match[:2]) for match in told["matches"][:6]}


def test_why_this_and_not_that(browser: Browser) -> None:
    browser.search(1, drawn())
    told = browser.post("/why?seq=1&row=0&contrast=1").json()
    assert told["contrast"]["row"] == 1
    assert told["contrast"]["matches"]
    assert "contrast" in browser.post("/why?seq=1&row=0&contrast=1&full=1").json()


def test_the_explanation_is_a_page_that_can_reach_nothing(browser: Browser) -> None:
    browser.search(1, drawn())
    page = browser.get("/explain.html?seq=1&row=0")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts allow-downloads; default-src 'none'")
    assert "content-disposition" not in page.headers
    assert browser.get("/explain.html?seq=1&row=0&download=1").headers["content-disposition"].startswith("attachment")


def test_a_frame_says_by_its_address_whose_drawing_it_is(server: Server, browser: Browser) -> None:
    browser.search(1, drawn())
    frame = Browser(server[0], "")
    refused(frame.get("/explain.html?seq=1&row=0"), 404)
    assert frame.get(f"/explain.html?seq=1&row=0&client={browser.client}").status_code == 200


def test_a_photo_in_the_shape_of_the_drawing(browser: Browser) -> None:
    browser.search(1, drawn())
    assert decoded(browser.get("/synthesis?seq=1&row=0")).size == (448, 448)


def test_the_last_drawings_are_kept_and_no_more(server: Server, browser: Browser) -> None:
    for seq in range(CAPACITY + 1):
        browser.search(seq, drawn(100 + seq))
    assert len(server[0].drawings) == CAPACITY
    refused(browser.post("/why?seq=0&row=0"), 404, "no longer kept")
    assert browser.post("/why?seq=1&row=0").status_code == 200


# one after the other


def test_a_stale_number_is_refused(browser: Browser) -> None:
    browser.search(7, drawn())
    refused(browser.post("/search?seq=6", drawn()), 409)
    assert browser.search(7, drawn())["seq"] == 7


def test_another_drawing_under_the_same_number_is_another(browser: Browser) -> None:
    first = browser.search(1, drawn())
    other = browser.search(1, drawn(ink="red", size=64))
    assert [hit["score"] for hit in first["hits"]] != [hit["score"] for hit in other["hits"]]


def test_two_clients_at_once_get_their_own(server: Server) -> None:
    pictures = {"one": drawn(), "two": png(Image.effect_noise((64, 64), 90))}
    alone = {name: Browser(server[0], f"alone {name}").search(1, data)["hits"] for name, data in pictures.items()}
    found: dict[tuple[str, int], Any] = {}

    def work(name: str) -> None:
        tab = Browser(server[0], name)
        for seq in range(1, 6):
            found[name, seq] = tab.search(seq, pictures[name])

    threads = [threading.Thread(target=work, args=(name,)) for name in pictures]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10
    for (name, seq), answer in found.items():
        assert answer["seq"] == seq
        assert answer["hits"] == alone[name]


class Gate:
    """A worker whose only thread waits until it is let go."""

    def __init__(self) -> None:
        self.worker, self.go, self.begun = Worker(), threading.Event(), threading.Event()

    def hold(self, client: str = "other", seq: int | None = None) -> Any:
        def wait(is_wanted: Callable[[], bool]) -> bool:
            self.begun.set()
            self.go.wait(10)
            return is_wanted()

        future = self.worker.submit(client, "hold", seq, wait)
        assert self.begun.wait(10)
        return future


@pytest.fixture
def gate() -> Iterator[Gate]:
    opened = Gate()
    yield opened
    opened.go.set()
    opened.worker.close()


@pytest.mark.fast
def test_the_latest_of_a_client_wins(gate: Gate) -> None:
    gate.hold()
    done: list[int] = []
    futures = [gate.worker.submit("a", "search ret", seq, lambda _, seq=seq: done.append(seq)) for seq in (1, 2, 3)]  # type: ignore[misc]
    gate.go.set()
    futures[2].result(10)
    assert done == [3]
    for future in futures[:2]:
        with pytest.raises(Superseded):
            future.result(10)
    with pytest.raises(Superseded):
        gate.worker.submit("a", "search ret", 2, lambda _: None)


def test_a_client_that_left_is_no_trouble(gate: Gate) -> None:
    gate.hold()
    left = gate.worker.submit("a", "search ret", 1, lambda _: None)
    assert left.cancel()
    newer = gate.worker.submit("a", "search ret", 2, lambda _: "new")
    gate.go.set()
    assert newer.result(10) == "new"


def test_both_searches_of_one_drawing_are_made(gate: Gate) -> None:
    gate.hold()
    first = gate.worker.submit("a", "search ret", 1, lambda _: "ret")
    second = gate.worker.submit("a", "search cascade", 1, lambda _: "cascade")
    gate.go.set()
    assert (first.result(10), second.result(10)) == ("ret", "cascade")


def test_a_running_search_learns_of_a_newer_one(gate: Gate) -> None:
    running = gate.hold("a", 1)
    newer = gate.worker.submit("a", "search ret", 2, lambda _: "new")
    gate.go.set()
    with pytest.raises(Superseded):
        running.result(10)
    assert newer.result(10) == "new"


def test_behind_two_that_wait_there_is_no_room(gate: Gate) -> None:
    gate.hold()
    for client in "ab":
        gate.worker.submit(client, "search ret", 1, lambda _: None)
    with pytest.raises(QueueFull):
        gate.worker.submit("c", "search ret", 1, lambda _: None)
    gate.worker.submit("a", "search ret", 2, lambda _: None)  # in the place of its own older one


def test_a_full_queue_is_said(server: Server, browser: Browser) -> None:
    gate = Gate()
    kept, server[0].worker = server[0].worker, gate.worker
    try:
        gate.hold()
        for client in "ab":
            gate.worker.submit(client, "search ret", 1, lambda _: None)
        answer = browser.post("/search?seq=1", drawn())
        refused(answer, 429)
        assert answer.headers["retry-after"] == "1"
    finally:
        server[0].worker = kept
        gate.go.set()
        gate.worker.close()


# without a relation network


def test_a_model_without_tokens_searches_and_says_what_it_cannot(photo_folder: Path, tmp_path: Path) -> None:
    call(photo_folder, "embed", "photos", "--modality", "photo", "-o", tmp_path / "pixels.h5").ok()
    with serving.open_server(request_of(tmp_path / "pixels.h5", "pixels"), PORT) as server:
        browser = Browser(server)
        told = browser.get("/gallery").json()
        assert (told["tokens"], told["by"], set(told["levels"])) == (False, "ret", {"ret"})
        assert browser.search(1, drawn(), "")["by"] == "ret"
        refused(browser.post("/search?seq=1&by=cascade"), 422, "no relation network")
        refused(browser.post("/why?seq=1&row=0"), 422, "no relation network")
        refused(browser.get("/synthesis?seq=1&row=0"), 422, "no relation network")
    with (
        pytest.raises(UsageError, match="no relation network"),
        serving.open_server(request_of(tmp_path / "pixels.h5", "pixels", by="cascade"), PORT),
    ):
        pass


# the command


def test_nothing_is_written(server: Server, browser: Browser, photo_folder: Path) -> None:
    before = files(photo_folder)
    browser.search(1, drawn(), "&by=cascade")
    browser.get("/photo/0")
    browser.post("/why?seq=1&row=0")
    browser.get("/explain.html?seq=1&row=0")
    assert files(photo_folder) == before


def test_a_host_that_others_reach_needs_a_name(zse: Zse) -> None:
    zse("draw", "--host", "0.0.0.0").refused(2, "--allow-host")


def test_an_open_server_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    request = request_of(tmp_path / "nowhere.h5", "pixels", port=0)
    for names in ((), ("me.example",)):
        with pytest.raises(StoreError, match="nowhere"):
            serving.serve(replace(request, allow_hosts=names))
        warned = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert "".join(warned).startswith("whoever has the address") is bool(names)
        caplog.clear()


def test_other_names_are_let_in_by_name(photo_folder: Path) -> None:
    settings = {"host": "192.0.2.7", "allow_hosts": ("Me.example:80", "2001:DB8::1"), "shortlist": 6}
    with serving.open_server(
        request_of(photo_folder / "photos.h5", photo_folder / "tiny.safetensors", **settings), 1
    ) as s:
        browser = Browser(s)
        for host in ("me.example", "me.example:9", "[2001:db8::1]:1", "192.0.2.7", "localhost"):
            assert browser.get("/gallery", Host=host).status_code == 200
        for host in ("example", "x.me.example", "[2001:db8::2]", "0.0.0.0"):
            refused(browser.get("/gallery", Host=host), 400)


def test_the_extra_is_named_where_it_is_missing(zse: Zse, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    zse("draw").refused(1, "zse draw needs uvicorn", "pip install 'zse[draw]'")


def test_photos_that_do_not_exist(zse: Zse, tmp_path: Path) -> None:
    zse("draw", "nowhere/").refused(1, "nowhere")
    zse("draw", "no/where.h5").refused(2, "no/where.h5")
    (tmp_path / "text.txt").write_text("text")
    zse("draw", "text.txt").refused(3, "text.txt")


def test_a_port_that_is_taken_gives_way(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(NOTICE)
    with serving.listen("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with serving.listen("127.0.0.1", taken) as second:
            assert taken < second.getsockname()[1] < taken + serving.MAX_TRIED_PORTS
    assert f"port {taken} is taken" in caplog.text


def test_an_address_that_is_not_here() -> None:
    with pytest.raises(ZseError, match=r"192\.0\.2\.1"), serving.listen("192.0.2.1", 8788):
        pass


DOCS = (DEMO.parents[1] / "docs" / "draw.md").read_text("utf-8")


def test_the_docs_name_every_endpoint(server: Server) -> None:
    paths = {route.path for route in server[0].app().app.routes}  # type: ignore[attr-defined]
    told = set(re.findall(r"^\| `(?:GET|POST) (/\w*(?:\.html)?)", DOCS, re.MULTILINE))
    assert {path.partition("{")[0].rstrip("/") or "/" for path in paths} - told == {"/", "/static", "/example"}


def run_the_program_of_the_docs(base: str, token: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = DOCS.split("```python\n")[1].split("```")[0]
    exec(program.replace("http://127.0.0.1:8788", base).replace('"token": "..."', f'"token": "{token}"'), {})
    assert capsys.readouterr().out.splitlines()[0].startswith("1 0.")


@pytest.mark.xdist_group("faults")
def test_the_command_serves_until_it_is_stopped(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sketch.png").write_bytes(drawn())
    before = files(photo_folder)
    words = [sys.executable, "-m", "zsecli", "draw", str(photo_folder / "photos.h5"), "--no-browser", "--port", "0"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ZSE_")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, cwd=photo_folder, env=env, text=True, **pipes) as run:
        assert run.stdout is not None
        address = run.stdout.readline().strip()
        base, _, token = address.partition("/?token=")
        with httpx.Client() as client:
            assert client.get(address).status_code == 303
            cookie = {"Cookie": f"zse-draw-{base.rpartition(':')[2]}={token}", "X-Zse": "1"}
            found = client.post(f"{base}/search?seq=1&by=cascade", content=drawn(), headers=cookie)
            assert found.status_code == 200
            run_the_program_of_the_docs(base, token, capsys)
            with socket.create_connection(("127.0.0.1", int(base.rpartition(":")[2]))) as slow:
                slow.sendall(b"POST /search?seq=2 HTTP/1.1\r\n")  # somebody who never comes to an end
                start = time.monotonic()
                run.send_signal(signal.SIGINT)
                out, err = run.communicate(timeout=20)
                took = time.monotonic() - start
    assert run.returncode == 130 and err.endswith("the page is closed\n")
    assert token not in out + err
    assert took < 5  # a second where nobody else computes
    assert files(photo_folder) == before


def test_a_folder_is_embedded_and_the_next_run_finds_it(photo_folder: Path, tmp_path: Path) -> None:
    from zsecli.stages.draw import DrawRequest, find_photos

    request = DrawRequest(photos=str(photo_folder / "photos"), model="pixels", workspace=tmp_path / "zse")
    first = find_photos(request)
    before = files(tmp_path)
    assert find_photos(request) == first
    assert files(tmp_path) == before
    assert first.name == "photos"
    options = serving.ServeOptions(store=first.store, name=first.name, model=first.model)
    with serving.open_server(options, PORT) as server:
        assert len(server.engine.gallery) == len([f for f in (photo_folder / "photos").rglob("*") if f.is_file()])


def test_the_model_of_a_store_is_the_one_that_made_it(zse: Zse, photo_folder: Path) -> None:
    store = photo_folder / "photos.h5"
    zse("draw", store, "--model", "pixels").refused(3, "pixels", "leave --model out")


def test_a_photo_is_compared_by_its_content(server: Server) -> None:
    """What a row is sent for is what its hash in the store says."""
    gallery, photos = server[0].engine.gallery, server[0].engine.photos
    row = row_of(server, HOSTILE)
    assert hashlib.sha256(photos.read(row)).digest() == gallery.features.items.sha256[row].tobytes()
