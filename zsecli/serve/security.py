"""Access control: only a browser that opened the printed address may send requests, and only from the page itself."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zsecli.serve.refusals import refuse

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
# a self-contained page with an inline script: it can load nothing, and has an opaque origin
EXPLANATION_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
OPEN_THE_ADDRESS = "open the address that zse draw printed, with its token"


@dataclass(frozen=True)
class Access:
    """Who may send requests."""

    port: int
    """Part of the cookie's name, as cookies are shared by all ports of a host."""
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    """The secret of this run, in the printed address and then in the page's cookie."""
    hosts: tuple[str, ...] = LOOPBACK
    """Names by which the server may be addressed, with any port, as a tunnel may have another."""

    @property
    def cookie(self) -> str:
        return f"zse-draw-{self.port}"


def is_loopback(host: str) -> bool:
    """Whether a server bound to `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """ASGI middleware: checks every request before the app sees it, and adds the headers to every response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan is needed, and web sockets are refused

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = self._refusal(scope) or self._login(scope)
        await (answer or self.app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        """The response to a request that is refused whoever sends it; None for others."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or host_without_port(hosts[0]) not in self.access.hosts:
            return refuse(400, "this server is not known by that name", "--allow-host NAME lets zse draw have others")
        # browsers that send these headers must name the page itself, or an address that a person typed
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        navigates_here = scope["path"] == "/" and scope["method"] in ("GET", "HEAD")
        if site not in (None, "same-origin", "none") and not navigates_here:
            return refuse(403, "another page asks", "only the page of zse draw may ask this server")
        if origin is not None and origin.partition("://")[2] != hosts[0]:
            return refuse(403, "another page asks", "only the page of zse draw may ask this server")
        if scope["method"] == "POST" and headers.get("x-zse") != "1":
            return refuse(403, "the header X-Zse: 1 is missing", "a form cannot send it, the page of zse draw does")
        return None

    def _login(self, scope: Scope) -> Response | None:
        """A redirect with the cookie for a request with the token, a refusal without both; None with the cookie."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        if scope["path"] == "/" and given:
            return self._let_in(scope) if self._is_token(given[0]) else _closed(scope)
        cookie = _cookies(Headers(scope=scope).getlist("cookie")).get(self.access.cookie, "")
        return None if self._is_token(cookie) else _closed(scope)

    def _let_in(self, scope: Scope) -> Response:
        """Redirect to the page, without the token in its address, and set the cookie."""
        answer: Response
        if Headers(scope=scope).get("sec-fetch-site") == "cross-site":
            # from a link on another site: a browser sends a strict cookie only after a page from here has loaded
            answer = HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0;url=/"><title>zse draw</title>')
        else:
            answer = RedirectResponse("/", 303)
        answer.set_cookie(self.access.cookie, self.access.token, httponly=True, samesite="strict")
        return answer

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.access.token.encode())


def _closed(scope: Scope) -> Response:
    if scope["path"] == "/":  # a person may read it
        return PlainTextResponse(f"This page is closed: {OPEN_THE_ADDRESS}.\n", 403)
    return refuse(403, "no token", OPEN_THE_ADDRESS)


def host_without_port(host: str) -> str:
    """The name in a Host header, an address of IPv6 with its brackets."""
    name, _, port = host.lower().rpartition(":")
    return name if name and port.isascii() and port.isdigit() else host.lower()


def _cookies(headers: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers:
        for part in header.split(";"):  # one by one: of a cookie that is none, others that were sent must not suffer
            try:
                found |= {name: morsel.value for name, morsel in SimpleCookie(part.strip()).items()}
            except CookieError:
                continue
    return found
