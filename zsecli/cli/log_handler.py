"""What the package logs, as lines on stderr."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from zsecli.runtime import console
from zsecli.runtime.log_levels import NOTICE


class ConsoleHandler(logging.Handler):
    """Prints each record as `zsecli.runtime.console` prints lines of its level."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            console.print_warning(message)
        elif record.levelno >= NOTICE:
            console.print_notice(message)
        else:
            console.print_info(message)


@contextlib.contextmanager
def log_to_console() -> Iterator[None]:
    """Print what the package logs, from INFO on, while the block lasts."""
    logger = logging.getLogger("zsecli")
    handler = ConsoleHandler(logging.INFO)
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)
