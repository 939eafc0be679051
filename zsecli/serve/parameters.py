"""What a request says, checked: numbers, rows, which tab asks, and a body that is not too long."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request

from zsecli.serve.drawings import BYTES


def read_client(request: Request) -> str:
    """Which tab asks: by a header, or in an address that a browser opens by itself."""
    return (request.headers.get("x-zse-client") or request.query_params.get("client", ""))[:64]


def read_seq(request: Request) -> int:
    if "seq" not in request.query_params:
        raise HTTPException(400, "seq, the number of the drawing, is missing")
    return read_number(request, "seq", 0)


def read_number(request: Request, name: str, default: int, least: int = 0) -> int:
    """A whole number of the query, below a thousand million."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        raise HTTPException(400, f"{name} is a whole number from {least}")
    return int(text)


def read_row(text: str | None, count: int, what: str) -> int:
    """A row below `count`; anything else there is not."""
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text) or int(text) >= count:
        raise HTTPException(404, f"no such {what}")
    return int(text)


async def read_body(request: Request) -> bytes:
    """The bytes that were sent; no more of them is read than may be."""
    too_long = HTTPException(413, f"more than {BYTES // 2**20} MiB were sent")
    length = request.headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > BYTES:
        raise too_long
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BYTES:
            raise too_long
        parts.append(part)
    return b"".join(parts)
