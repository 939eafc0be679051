"""Files that are whole or not there: written beside their name, which they take when they are finished."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from zsecli.errors import refusal, system_number


def partial_path(path: Path) -> Path:
    """Where `path` is written until it is finished."""
    return path.with_name(path.name + ".partial")


def settle(path: Path) -> None:
    """Give the finished `partial_path(path)` its name, replacing an older file at once."""
    with partial_path(path).open("rb") as file:
        os.fsync(file.fileno())  # else a power cut could leave the name without the content
    os.replace(partial_path(path), path)


@contextlib.contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Files to write in the places of `paths`; they take these names when the block ends, or go if it fails."""
    partial = [partial_path(path) for path in paths]
    try:
        yield partial
        for path in paths:
            settle(path)
    except Exception as error:
        number = system_number(error)
        if number is None or getattr(error, "filename", None):
            raise
        raise refusal(number, paths[0]) from error  # of a write that fails it does not say where
    finally:
        for file in partial:
            file.unlink(missing_ok=True)
