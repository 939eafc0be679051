"""Error responses: an error and a hint as JSON, with the HTTP status that fits."""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from zsecli.errors import ZseError
from zsecli.images.picture_errors import PictureError
from zsecli.serve.drawings import DrawingRefused
from zsecli.serve.photos import PhotoGone
from zsecli.serve.rerank import Superseded
from zsecli.serve.worker import QueueFull

logger = logging.getLogger(__name__)


def refuse(status: int, error: str, hint: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error response."""
    return JSONResponse({"error": error, "hint": hint}, status, headers)


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


async def _on_leaving(_request: Request, _error: Exception) -> Response:
    return refuse(400, "the picture was not sent to its end", "send it again")  # nobody is there to read it


async def _on_fault(_request: Request, error: Exception) -> Response:
    """What nobody thought of: told on the terminal, where it can be reported from."""
    if isinstance(error, ZseError):
        message, hint = error.message, error.hint
    else:
        message, hint = f"{type(error).__name__}: {error}", "this is a fault of zse, please report it"
    logger.warning(message)
    return refuse(500, message, hint)


HANDLERS: dict[Any, Any] = {
    HTTPException: _on_http,
    DrawingRefused: _on_drawing,
    PhotoGone: _on_gone,
    PictureError: _on_gone,
    Superseded: _on_superseded,
    QueueFull: _on_full_queue,
    ClientDisconnect: _on_leaving,
    ZseError: _on_fault,
    Exception: _on_fault,
}
