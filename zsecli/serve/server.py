"""The server of the page to draw in: from a feature store to a page on this machine, until it is interrupted."""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib.util
import logging
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zsecli.errors import UsageError, ZseError
from zsecli.model.spec import ModelSpec
from zsecli.runtime.log_levels import NOTICE

if TYPE_CHECKING:
    from zsecli.serve.app import DrawServer

logger = logging.getLogger(__name__)

MAX_TRIED_PORTS = 20
CHECKED_PHOTOS = 20  # of which it is checked at the start whether they still exist
REQUIRED_PACKAGES = ("starlette", "uvicorn")


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """What to serve, and to whom."""

    store: Path
    """Feature store with the photos."""
    name: str
    """What the page calls them."""
    model: ModelSpec
    """The model that made the store."""
    top: int = 24
    """Hits per answer."""
    shortlist: int = 24
    """Photos that are re-ranked."""
    by: str | None = None
    """`ret` or `cascade`; None: `cascade` if the model has a relation network."""
    host: str = "127.0.0.1"
    port: int = 8788
    """If it is taken, the next ones are tried; 0 is any free one."""
    allow_hosts: tuple[str, ...] = ()
    """Further names by which browsers may address the server."""
    browser: bool = False
    """Open the page in a browser."""
    device: str = "auto"


def check_installed() -> None:
    """ZseError where the packages of the extra `draw` are missing."""
    missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ZseError(f"zse draw needs {' and '.join(missing)}", "pip install 'zse[draw]'")


def check_host(host: str, allow_hosts: tuple[str, ...]) -> None:
    """UsageError for a host that others can reach, without a name by which they may."""
    from zsecli.serve.security import is_loopback

    if not is_loopback(host) and not allow_hosts:
        raise UsageError(
            f"--host {host}: others can reach it, by names that zse draw does not know",
            f"--allow-host NAME says which, for example --allow-host {socket.gethostname()}",
        )


def serve(options: ServeOptions, announce: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM; `announce` is told the address once the page is there.

    Raises:
        ZseError: the extra `draw` is not installed, or no port is free. StoreError: the store cannot be used.
        KeyboardInterrupt: it was interrupted.
    """
    check_installed()
    check_host(options.host, options.allow_hosts)
    if options.allow_hosts:
        logger.warning("whoever has the address and reaches it can see the photos, and nothing is encrypted on the way")
    with listen(options.host, options.port) as listening, open_server(options, listening.getsockname()[1]) as server:
        _serve(server, options, listening, announce)


@contextlib.contextmanager
def open_server(options: ServeOptions, port: int) -> Iterator[DrawServer]:
    """The server of a options that listens at `port`, ready to compute; for tests and for other servers too."""
    import torch

    from zsecli.model.load import load
    from zsecli.serve.app import DrawServer
    from zsecli.serve.engine import Engine
    from zsecli.serve.gallery import Gallery
    from zsecli.serve.photos import Photos
    from zsecli.serve.security import LOOPBACK, Access
    from zsecli.store.features import open_features

    with open_features(options.store) as features:
        gallery = Gallery(features, os.fsencode(options.name).decode("utf-8", "replace"))
        checked = gallery.files[:CHECKED_PHOTOS]
        if n_gone := sum(not file.is_file() for file in checked):
            logger.warning(
                f"{options.store}: {n_gone} of its first {len(checked)} photos are no longer where they were"
            )
        model = load(options.model, options.device)
        threads = torch.get_num_threads()
        try:
            torch.set_num_threads(1)  # for one picture more of them wait for each other longer than they compute
            engine = Engine(gallery, Photos(gallery), model, options.model, options.shortlist)
            by = options.by or ("cascade" if engine.has_relation else "ret")
            if by == "cascade" and not engine.has_relation:
                raise UsageError(f"--by cascade: {options.model.text} has no relation network", "--by ret")
            hosts = tuple(map(_as_host, (options.host, *options.allow_hosts)))
            server = DrawServer(engine, Access(port, hosts=(*LOOPBACK, *hosts)), options.top, by)  # type: ignore[arg-type]
            try:
                yield server
            finally:
                server.worker.close()
        finally:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def listen(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at `host` and the first free port from `port` on.

    Raises:
        ZseError: none is free, or the host is none of this machine.
    """
    for candidate in range(port, min(port + MAX_TRIED_PORTS, 65536)):
        try:
            listening = _bind(host, candidate)
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES) and port:
                continue
            raise ZseError(f"--host {host}: {error.strerror}", "127.0.0.1 is this machine") from error
        with listening:
            if candidate != port:
                logger.log(NOTICE, f"port {port} is taken, so it is {candidate}")
            yield listening
        return
    raise ZseError(
        f"no port from {port} to {min(port + MAX_TRIED_PORTS, 65536) - 1} is free", "--port 0 takes any that is"
    )


def _bind(host: str, port: int) -> socket.socket:
    # asyncio sends small answers at once only where a socket names its protocol, and holds them for 40 ms elsewhere
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _serve(
    server: DrawServer, options: ServeOptions, listening: socket.socket, announce: Callable[[str], None]
) -> None:
    import uvicorn

    from zsecli.serve.security import is_loopback

    # 0.0.0.0 is no name that leads anywhere
    host = _as_host(options.host if is_loopback(options.host) else options.allow_hosts[0])
    address = f"http://{host}:{server.access.port}/?token={server.access.token}"
    # the log of requests would hold the token
    config = uvicorn.Config(
        server.app(),
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        timeout_graceful_shutdown=0,
    )
    # what is there now stays until the end, when looking through it for garbage would hold up a Ctrl-C for seconds
    gc.collect()
    gc.freeze()
    announce(address)
    if options.browser and _has_display():
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    uvicorn.Server(config).run(sockets=[listening])


def _has_display() -> bool:
    """Whether a browser can open a window; one without would take the terminal over."""
    if sys.platform in ("darwin", "win32"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"))


def _as_host(name: str) -> str:
    """A name as it stands in a Host header, without the port: an address of IPv6 in brackets."""
    from zsecli.serve.security import host_without_port

    return f"[{name.lower()}]" if name.count(":") > 1 and not name.startswith("[") else host_without_port(name)
