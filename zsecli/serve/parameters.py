"""Validated parameters of a request: numbers, rows, the client, and a body of limited size."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request

from zsecli.serve.drawings import BYTES


def read_client(request: Request) -> str:
    """The tab that sends the request: from a header, or from the query where the browser opens an address itself."""
    return (request.headers.get("x-zse-client") or request.query_params.get("client", ""))[:64]


def read_seq(request: Request) -> int:
    """The client's number of the drawing."""
    if "seq" not in request.query_params:
        raise HTTPException(400, "seq, the number of the drawing, is missing")
    return read_number(request, "seq", 0)


def read_number(request: Request, name: str, default: int, least: int = 0) -> int:
    """A whole number from the query, of at most nine digits."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise HTTPException(400, f"{name} is a whole number from {least}")
    return int(text)


def read_row(text: str | None, count: int, noun: str) -> int:
    """A row below `count`; anything else is a 404."""
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text) or int(text) >= count:
        raise HTTPException(404, f"no such {noun}")
    return int(text)


async def read_body(request: Request) -> bytes:
    """The uploaded bytes; reading stops at the limit."""
    too_long = HTTPException(413, f"more than {BYTES // 2**20} MiB were sent")
    length = request.headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > BYTES:
        raise too_long
    chunks = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BYTES:
            raise too_long
        chunks.append(chunk)
    return b"".join(chunks)
