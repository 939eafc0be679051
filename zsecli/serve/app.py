"""The routes: what a page may ask, and what it gets. docs/draw.md lists them."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import re
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
from starlette.types import ASGIApp

from zsecli import console
from zsecli.data.pictures import PictureError
from zsecli.errors import ZseError
from zsecli.serve import drawings
from zsecli.serve.drawings import Drawing, DrawingRefused, DrawingStore
from zsecli.serve.engine import By, Engine, Hits, as_png
from zsecli.serve.levels import Levels
from zsecli.serve.photos import PhotoGone
from zsecli.serve.rerank import Superseded
from zsecli.serve.security import EXPLANATION_POLICY, Access, Guard, refuse
from zsecli.serve.worker import QueueFull, Worker

STATIC = Path(__file__).with_name("static")
SHARED = (Path(__file__).parents[1] / "explain" / "overlay.js",)  # with the page of zse explain
PHOTOS_AT_ONCE = 2  # that are made small: the other core computes
MOST_HITS = 500  # of one answer
Answer = TypeVar("Answer")


@dataclass
class DrawServer:
    """What the routes share: one gallery, one thread that computes, the last drawings."""

    engine: Engine
    access: Access
    top: int = 24
    by: By = "cascade"
    worker: Worker = field(default_factory=Worker)
    kept: DrawingStore = field(default_factory=DrawingStore)

    def app(self) -> ASGIApp:
        """The whole as an ASGI application."""
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
        app = Starlette(routes=routes, exception_handlers=_HANDLERS)
        app.router.redirect_slashes = False
        return Guard(app, self.access)

    # the page

    async def show_page(self, _request: Request) -> Response:
        return _static_file("index.html")

    async def send_static(self, request: Request) -> Response:
        return _static_file(request.path_params["name"])

    async def describe_gallery(self, _request: Request) -> Response:
        gallery = self.engine.gallery
        return JSONResponse(
            {
                "model": self.engine.spec.text,
                "name": gallery.name,
                "photos": len(gallery),
                "groups": [{"name": name, "count": count} for name, count in gallery.count_groups()],
                "examples": [{"name": e.name, "url": f"/example/{i}"} for i, e in enumerate(self.engine.examples)],
                "tokens": self.engine.has_relation,
                "by": self.by,
                "top": self.top,
                "levels": _describe_levels(self.engine.levels),
                "limits": {"bytes": drawings.BYTES, "pixels": drawings.PIXELS},
            }
        )

    async def send_example(self, request: Request) -> Response:
        number = _number(request.path_params["number"], len(self.engine.examples), "example")
        return FileResponse(self.engine.examples[number].file, headers={"Cache-Control": "private, max-age=3600"})

    # hits

    async def search(self, request: Request) -> Response:
        client, seq = _client(request), _seq(request)
        by, top, offset, group = self._query(request)
        data = await _body(request)

        def compute(is_wanted: Callable[[], bool]) -> dict[str, Any]:
            start = time.perf_counter()
            drawing = self._drawing(client, seq, data)
            if not is_wanted():
                raise Superseded
            hits = self.engine.search(drawing, by, top, offset, group, is_wanted)
            more = {"changes": list(drawing.changes), "nothing": hits.is_nothing}
            return {"seq": seq, "by": by, "ms": _since(start), **more, **self._list(hits, offset)}

        return JSONResponse(await self._compute(client, f"search {by}", seq, compute))

    async def search_like(self, request: Request) -> Response:
        row = self._row(request.query_params.get("row"))
        _, top, offset, group = self._query(request)

        def compute(_is_wanted: Callable[[], bool]) -> dict[str, Any]:
            start = time.perf_counter()
            hits = self.engine.like(row, top, offset, group)
            more = {"changes": [], "nothing": False}
            return {"row": row, "by": "ret", "ms": _since(start), **more, **self._list(hits, offset)}

        return JSONResponse(await self._compute(_client(request), "like", None, compute))

    # photos

    async def send_photo(self, request: Request) -> Response:
        row = self._row(request.path_params["row"])
        side = _whole(request, "side", 320, least=1)
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
            drawing = self._kept(client, seq)
            if whole:
                return self.engine.explain(drawing, row, contrast)
            found = {"seq": seq, "row": row, **self.engine.match(drawing, row)}
            if contrast is not None:
                found["contrast"] = {"row": contrast, **self.engine.match(drawing, contrast)}
                del found["contrast"]["sketch"]
            return found

        return JSONResponse(await self._compute(client, "why", None, compute))

    async def send_explanation(self, request: Request) -> Response:
        client, seq, row, contrast = self._question(request)
        text = await self._compute(
            client, "explain", None, lambda _: self.engine.explain_page(self._kept(client, seq), row, contrast)
        )
        headers = {"Content-Security-Policy": EXPLANATION_POLICY}
        if request.query_params.get("download") == "1":
            stem = Path(self.engine.gallery.names[row]).stem
            headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(f'why-{stem}.html', safe='')}"
        return HTMLResponse(text.encode("utf-8", "replace"), headers=headers)

    async def send_synthesis(self, request: Request) -> Response:
        client, seq, row, _ = self._question(request)
        data = await self._compute(
            client, "synthesis", None, lambda _: self.engine.synthesize(self._kept(client, seq), row)
        )
        return Response(data, media_type="image/png")

    async def prepare(self, request: Request) -> Response:
        data = await _body(request)

        def compute(_is_wanted: Callable[[], bool]) -> tuple[bytes, tuple[str, ...]]:
            preprocess = self.engine.model.preprocess
            image, changes = drawings.clean_drawing(drawings.read_drawing(data), preprocess)
            return as_png(image), changes

        png, changes = await self._compute(_client(request), "prepare", None, compute)
        return Response(png, media_type="image/png", headers={"X-Zse-Changes": quote(json.dumps(changes))})

    # shared by the routes

    async def _compute(
        self, client: str, kind: str, seq: int | None, compute: Callable[[Callable[[], bool]], Answer]
    ) -> Answer:
        return await asyncio.wrap_future(self.worker.submit(client, kind, seq, compute))

    def _drawing(self, client: str, seq: int, data: bytes) -> Drawing:
        """The drawing of this number: encoded before, or now, of `data`."""
        if (drawing := self.kept.get(client, seq, data)) is None:
            if not data:
                raise DrawingRefused("no picture was sent", "send the drawing as a PNG picture")
            drawing = drawings.encode_drawing(self.engine.model, drawings.read_drawing(data))
            self.kept.put(client, seq, data, drawing)
        return drawing

    def _kept(self, client: str, seq: int) -> Drawing:
        if (drawing := self.kept.get(client, seq)) is None:
            raise DrawingRefused("this drawing is no longer kept", "search with it once more", 404)
        return drawing

    def _list(self, hits: Hits, offset: int) -> dict[str, Any]:
        gallery, listed = self.engine.gallery, []
        found = zip(hits.rows.tolist(), hits.scores.tolist(), hits.shares, strict=True)
        for place, (row, score, share) in enumerate(found):
            listed.append(
                {
                    "row": row,
                    "rank": offset + place + 1,
                    "score": round(score, 4),
                    "by": "relation" if place < hits.relations else "ret",
                    "share": round(share, 3),
                    "name": gallery.names[row],
                    "group": gallery.group_of(row),
                }
            )
        return {"total": hits.total, "hits": listed}

    def _row(self, text: str | None) -> int:
        return _number(text, len(self.engine.gallery), "photo")

    def _query(self, request: Request) -> tuple[By, int, int, str]:
        """by, top, offset and group of a search."""
        by = request.query_params.get("by", self.by)
        if by not in ("ret", "cascade"):
            raise HTTPException(400, "by is ret or cascade")
        group = request.query_params.get("group", "")
        if group and group not in self.engine.gallery.group_names:
            raise HTTPException(404, "no such group")
        top, offset = _whole(request, "top", self.top, least=1), _whole(request, "offset", 0)
        return cast(By, by), min(top, MOST_HITS), offset, group

    def _question(self, request: Request) -> tuple[str, int, int, int | None]:
        """client, seq, row and contrast of a question about a hit."""
        contrast = request.query_params.get("contrast")
        row = self._row(request.query_params.get("row"))
        return _client(request), _seq(request), row, None if contrast is None else self._row(contrast)


def _static_file(name: str) -> Response:
    """A file of the page: one that is listed, so that no name leads elsewhere."""
    files = {file.name: file for file in (*STATIC.glob("*.*"), *SHARED)}
    if (file := files.get(name)) is None:
        raise HTTPException(404)
    kind = "text/javascript" if file.suffix == ".js" else mimetypes.guess_type(file.name)[0]
    return FileResponse(file, media_type=kind, headers={"Cache-Control": "no-cache"})


def _client(request: Request) -> str:
    """Which tab asks: by a header, or in an address that a browser opens by itself."""
    return (request.headers.get("x-zse-client") or request.query_params.get("client", ""))[:64]


def _seq(request: Request) -> int:
    if "seq" not in request.query_params:
        raise HTTPException(400, "seq, the number of the drawing, is missing")
    return _whole(request, "seq", 0)


def _whole(request: Request, name: str, default: int, least: int = 0) -> int:
    """A whole number of the query, below a thousand million."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise HTTPException(400, f"{name} is a whole number from {least}")
    return int(text)


def _number(text: str | None, count: int, what: str) -> int:
    """A row below `count`; anything else there is not."""
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text) or int(text) >= count:
        raise HTTPException(404, f"no such {what}")
    return int(text)


async def _body(request: Request) -> bytes:
    """The bytes that were sent; no more of them is read than may be."""
    too_long = HTTPException(413, f"more than {drawings.BYTES // 2**20} MiB were sent")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > drawings.BYTES:
        raise too_long
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > drawings.BYTES:
            raise too_long
        parts.append(part)
    return b"".join(parts)


def _describe_levels(levels: Levels) -> dict[str, dict[str, float]]:
    """`usual` as a standing and `nothing` as a lead, and both as relation scores."""
    described = {"ret": {"usual": round(levels.usual, 4), "nothing": round(levels.lead, 4)}}
    if levels.usual_relation is not None and levels.nothing_relation is not None:
        relation = {"usual": round(levels.usual_relation, 4), "nothing": round(levels.nothing_relation, 4)}
        described["relation"] = relation
    return described


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 1)


_HINTS = {
    400: "docs/draw.md lists what each address takes",
    404: "docs/draw.md lists what there is",
    405: "docs/draw.md says by which method each address is asked",
    413: "make the picture smaller: 1024 pixels are plenty",
}


async def _on_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refuse(error.status_code, error.detail, _HINTS.get(error.status_code, ""), dict(error.headers or {}))


async def _on_drawing(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DrawingRefused)
    return refuse(error.status, error.message, error.hint)


async def _on_gone(_request: Request, error: Exception) -> Response:
    return refuse(410, f"the photo: {error}", "embed the photos again")


async def _on_superseded(_request: Request, _error: Exception) -> Response:
    return refuse(409, "a newer drawing came", "wait for the answer to that")


async def _on_full_queue(_request: Request, _error: Exception) -> Response:
    return refuse(429, "too much is waiting", "ask again in a moment", {"Retry-After": "1"})


async def _on_fault(_request: Request, error: Exception) -> Response:
    """What nobody thought of: told on the terminal, where it can be reported from."""
    if isinstance(error, ZseError):
        message, hint = error.message, error.hint
    else:
        message, hint = f"{type(error).__name__}: {error}", "this is a fault of zse, please report it"
    console.warn(message)
    return refuse(500, message, hint)


_HANDLERS: dict[Any, Any] = {
    HTTPException: _on_http,
    DrawingRefused: _on_drawing,
    PhotoGone: _on_gone,
    PictureError: _on_gone,
    Superseded: _on_superseded,
    QueueFull: _on_full_queue,
    ZseError: _on_fault,
    Exception: _on_fault,
}
