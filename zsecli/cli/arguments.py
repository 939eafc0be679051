"""What was typed: which options, which input files, and the path of a store that comes on stdin."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import typer

from zsecli.errors import UsageError
from zsecli.runtime.textfiles import decode_text


@dataclass(frozen=True)
class InputFile:
    """Marks, in `Annotated`, a parameter whose value is a file or folder that the command reads."""


INPUT = InputFile()


def was_typed(context: typer.Context, name: str) -> bool:
    """Whether a parameter is in the command line itself: no default, no environment variable, no configuration file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def spelling(param: typer.CallbackParam) -> str:
    """What a user types for a parameter: `--name`; an argument's name."""
    return max(param.opts, key=len)


def reject_options(context: typer.Context, names: tuple[str, ...], reason: str, hint: str) -> None:
    """Check that none of the parameters `names` was typed where it would have no effect.

    Raises:
        UsageError: one was; its message is the option's name and `reason`.
    """
    for param in context.command.params:
        if param.name in names and was_typed(context, param.name or ""):
            raise UsageError(f"{spelling(param)} {reason}", hint)  # type: ignore[arg-type]


def input_parameters(command: Any) -> list[str]:
    """The names of a command's parameters that are marked as `INPUT`."""
    hints = get_type_hints(command.callback, include_extras=True)
    return [name for name, hint in hints.items() if INPUT in getattr(hint, "__metadata__", ())]


def input_files(context: typer.Context) -> list[Path]:
    """The files and folders that this run of a command reads, as its parameters name them."""
    return list(_named_files(context))


def _named_files(context: typer.Context) -> Iterator[Path]:
    for name in input_parameters(context.command):
        value = context.params.get(name) or ()
        for item in value if isinstance(value, (list, tuple)) else (value,):
            text = os.fspath(item)
            yield Path(text.partition("=")[2] if text.startswith("frozen:") else text)


def read_store_path(text: str) -> Path:
    """The path of a store: `text`, or the next line of stdin where that is `-`."""
    if text != "-":
        return Path(text)
    line = "" if sys.stdin.isatty() else _next_line()
    if not line or "\0" in line:
        what = "what came holds a zero byte" if line else "none came"
        raise UsageError(
            f"- reads the path of a store from stdin, and {what}", "zse embed sketch.png | zse match - photos.h5"
        )
    return Path(line)


def _next_line() -> str:
    """The next line of stdin; "" where there is none."""
    data = sys.stdin.buffer.readline()
    if data.endswith(b"\n") and b"\0" in data and len(data) % 2:
        data += sys.stdin.buffer.read(1)  # the second half of a line feed in UTF-16
    return decode_text(data, "surrogateescape").rstrip("\r\n")
