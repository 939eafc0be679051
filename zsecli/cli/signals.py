"""Being stopped: Ctrl-C, and the signal that batch systems send before they kill."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

SOON = 0.05  # seconds


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """SIGTERM is a KeyboardInterrupt like SIGINT, and neither is lost.

    Python drops what is raised in a destructor or in a library's callback, which may be where a signal finds it; it is
    then sent again.
    """
    before = sys.unraisablehook

    def again(dropped: Any) -> None:
        if issubclass(dropped.exc_type, KeyboardInterrupt):
            timer = threading.Timer(SOON, os.kill, (os.getpid(), signal.SIGINT))
            timer.daemon = True
            timer.start()
        else:
            before(dropped)

    sys.unraisablehook = again
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
        sys.unraisablehook = before
