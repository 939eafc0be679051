"""The routes: what a page may ask, and what it gets. docs/draw.md lists them."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import quote

import anyio
from anyio import CapacityLimiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from zsecli.serve import drawings
from zsecli.serve.answers import describe_gallery, describe_hits
from zsecli.serve.drawings import Drawing, DrawingRefused, DrawingStore
from zsecli.serve.engine import By, Engine, as_png
from zsecli.serve.parameters import read_body, read_client, read_number, read_row, read_seq
from zsecli.serve.refusals import HANDLERS
from zsecli.serve.rerank import Superseded
from zsecli.serve.security import EXPLANATION_POLICY, Access, Guard
from zsecli.serve.worker import Worker

STATIC = Path(__file__).with_name("static")
SHARED = (Path(__file__).parents[1] / "render" / "overlay.js",)  # with the page of zse explain
PHOTOS_AT_ONCE = 2  # photos resized at a time, so that another core can compute
MAX_HITS = 500  # of one answer
Answer = TypeVar("Answer")


@dataclass
class DrawServer:
    """What the routes share: one gallery, one thread that computes, and the last drawings."""

    engine: Engine
    access: Access
    top: int = 24
    by: By = "cascade"
    worker: Worker = field(default_factory=Worker)
    drawings: DrawingStore = field(default_factory=DrawingStore)

    def app(self) -> Guard:
        """The ASGI application."""
        routes = [
            Route("/", self.show_page),
            Route("/static/{name}", self.send_static),
            Route("/gallery", self.describe_gallery),
            Route("/example/{number}", self.send_example),
            Route("/search", self.search, methods=["POST"]),
            Route("/prepare", self.prepare, methods=["POST"]),
            Route("/photo/{row}", self.send_photo),
            Route("/path", self.send_path),
            Route("/like", self.search_like),
            Route("/why", self.tell_why, methods=["POST"]),
            Route("/explain.html", self.send_explanation),
            Route("/synthesis", self.send_synthesis),
        ]
        self.thumbnails = CapacityLimiter(PHOTOS_AT_ONCE)
        app = Starlette(routes=routes, exception_handlers=HANDLERS)
        app.router.redirect_slashes = False
        return Guard(app, self.access)

    # the page

    async def show_page(self, _request: Request) -> Response:
        return _static_file("index.html")

    async def send_static(self, request: Request) -> Response:
        return _static_file(request.path_params["name"])

    async def describe_gallery(self, _request: Request) -> Response:
        return JSONResponse(describe_gallery(self.engine, self.by, self.top))

    async def send_example(self, request: Request) -> Response:
        number = read_row(request.path_params["number"], len(self.engine.examples), "example")
        return FileResponse(self.engine.examples[number].file, headers={"Cache-Control": "private, max-age=3600"})

    # hits

    async def search(self, request: Request) -> Response:
        client, seq = read_client(request), read_seq(request)
        by, top, offset, group = self._query(request)
        data = await read_body(request)

        def compute(is_wanted: Callable[[], bool]) -> dict[str, Any]:
            start = time.perf_counter()
            drawing = self._drawing(client, seq, data)
            if not is_wanted():
                raise Superseded
            hits = self.engine.search(drawing, by, top, offset, group, is_wanted)
            answer = {"seq": seq, "by": by, "ms": _since(start), "changes": list(drawing.changes)}
            return answer | describe_hits(self.engine.gallery, hits, offset)

        return JSONResponse(await self._compute(client, f"search {by}", seq, compute))

    async def search_like(self, request: Request) -> Response:
        row = self._row(request.query_params.get("row"))
        _, top, offset, group = self._query(request)

        def compute(_is_wanted: Callable[[], bool]) -> dict[str, Any]:
            start = time.perf_counter()
            hits = self.engine.search_similar(row, top, offset, group)
            answer = {"row": row, "by": "ret", "ms": _since(start), "changes": []}
            return answer | describe_hits(self.engine.gallery, hits, offset)

        return JSONResponse(await self._compute(read_client(request), "like", None, compute))

    # photos

    async def send_photo(self, request: Request) -> Response:
        row = self._row(request.path_params["row"])
        side = read_number(request, "side", 320, least=1)
        photos = self.engine.photos
        headers = {"ETag": photos.etag(row, side), "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"] and photos.is_same(row):
            return Response(status_code=304, headers=headers)
        data = await anyio.to_thread.run_sync(photos.thumbnail, row, side, limiter=self.thumbnails)
        return Response(data, media_type="image/jpeg", headers=headers)

    async def send_path(self, request: Request) -> Response:
        row = self._row(request.query_params.get("row"))
        path = os.fsencode(self.engine.gallery.files[row])
        return JSONResponse({"row": row, "path": path.decode("utf-8", "replace")})  # a folder's name may be any bytes

    # why

    async def tell_why(self, request: Request) -> Response:
        client, seq, row, contrast = self._question(request)
        whole = request.query_params.get("full") == "1"

        def compute(_is_wanted: Callable[[], bool]) -> dict[str, Any]:
            drawing = self._stored_drawing(client, seq)
            if whole:
                return self.engine.explain(drawing, row, contrast)
            answer = {"seq": seq, "row": row, **self.engine.match(drawing, row)}
            if contrast is not None:
                answer["contrast"] = {"row": contrast, **self.engine.match(drawing, contrast)}
                del answer["contrast"]["sketch"]
            return answer

        return JSONResponse(await self._compute(client, "why", None, compute))

    async def send_explanation(self, request: Request) -> Response:
        client, seq, row, contrast = self._question(request)

        def compute(_is_wanted: Callable[[], bool]) -> str:
            return self.engine.explain_page(self._stored_drawing(client, seq), row, contrast)

        text = await self._compute(client, "explain", None, compute)
        headers = {"Content-Security-Policy": EXPLANATION_POLICY}
        if request.query_params.get("download") == "1":
            stem = Path(self.engine.gallery.names[row]).stem
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(f'why-{stem}.html', safe='')}"
        return HTMLResponse(text.encode("utf-8", "replace"), headers=headers)

    async def send_synthesis(self, request: Request) -> Response:
        client, seq, row, _ = self._question(request)
        data = await self._compute(
            client, "synthesis", None, lambda _: self.engine.synthesize(self._stored_drawing(client, seq), row)
        )
        return Response(data, media_type="image/png")

    async def prepare(self, request: Request) -> Response:
        data = await read_body(request)

        def compute(_is_wanted: Callable[[], bool]) -> tuple[bytes, tuple[str, ...]]:
            preprocess = self.engine.model.preprocess
            image, changes = drawings.clean_drawing(drawings.read_drawing(data), preprocess)
            return as_png(image), changes

        png, changes = await self._compute(read_client(request), "prepare", None, compute)
        return Response(png, media_type="image/png", headers={"X-Zse-Changes": quote(json.dumps(changes))})

    # shared by the routes

    async def _compute(
        self, client: str, kind: str, seq: int | None, compute: Callable[[Callable[[], bool]], Answer]
    ) -> Answer:
        return await asyncio.wrap_future(self.worker.submit(client, kind, seq, compute))

    def _drawing(self, client: str, seq: int, data: bytes) -> Drawing:
        """The drawing of this number: encoded before, or now, of `data`."""
        if (drawing := self.drawings.get(client, seq, data)) is None:
            if not data:
                raise DrawingRefused("no picture was sent", "send the drawing as a PNG picture")
            drawing = drawings.encode_drawing(self.engine.model, drawings.read_drawing(data))
            self.drawings.put(client, seq, data, drawing)
        return drawing

    def _stored_drawing(self, client: str, seq: int) -> Drawing:
        if (drawing := self.drawings.get(client, seq)) is None:
            raise DrawingRefused("this drawing is no longer kept", "search with it once more", 404)
        return drawing

    def _row(self, text: str | None) -> int:
        return read_row(text, len(self.engine.gallery), "photo")

    def _query(self, request: Request) -> tuple[By, int, int, str]:
        """by, top, offset and group of a search."""
        by = request.query_params.get("by", self.by)
        if by not in ("ret", "cascade"):
            raise HTTPException(400, "by is ret or cascade")
        group = request.query_params.get("group", "")
        if group and group not in self.engine.gallery.group_names:
            raise HTTPException(404, "no such group")
        top, offset = read_number(request, "top", self.top, least=1), read_number(request, "offset", 0)
        return cast(By, by), min(top, MAX_HITS), offset, group

    def _question(self, request: Request) -> tuple[str, int, int, int | None]:
        """client, seq, row and contrast of a question about a hit."""
        contrast = request.query_params.get("contrast")
        row = self._row(request.query_params.get("row"))
        return read_client(request), read_seq(request), row, None if contrast is None else self._row(contrast)


def _static_file(name: str) -> Response:
    """A file of the page: one that is listed, so that no name leads elsewhere."""
    files = {file.name: file for file in (*STATIC.glob("*.*"), *SHARED)}
    if (file := files.get(name)) is None:
        raise HTTPException(404)
    kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(file.name)[0]
    return FileResponse(file, media_type=kind, headers={"Cache-Control": "no-cache"})


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)
