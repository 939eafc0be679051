"""Convert any exception into a ZseError with a hint."""

from __future__ import annotations

from typing import Any

from zsecli.errors import USAGE, ZseError, did_you_mean, get_errno, system_error


def in_words(error: Exception) -> ZseError:
    """`error` in a user's words: a wrong command line, a file the system refuses, or a fault of zse."""
    if isinstance(error, ZseError):
        return error
    if hasattr(error, "format_message"):  # typer's, whichever base class its version has
        return _usage(error)
    if (number := get_errno(error)) is not None:
        return system_error(number, getattr(error, "filename2", None) or getattr(error, "filename", None) or "a file")
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return ZseError(f"out of memory ({text})", "a smaller --batch-size needs less, and so does --device cpu")
    return ZseError(text, "this is a fault of zse, please report it; --debug shows where")


def _usage(error: Any) -> ZseError:
    """A command line that typer refuses."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = "--help behind the command lists its options"
    if context is not None:
        params = context.command.params
        hint = f"{context.command_path} --help"
        if wrong := getattr(error, "option_name", None):
            near = did_you_mean(wrong, [name for p in params for name in p.opts])
            message = f"{error.message}{near}" if near else error.message
        name = getattr(getattr(error, "param", None), "name", None)
        source = context.get_parameter_source(name) if name else None
        if source is not None and source.name == "DEFAULT_MAP":
            message = f"{context.params['config']}: {message}"
        elif commands := list(getattr(context.command, "commands", ())):
            hint = f"commands: {', '.join(commands)}"
    explained = ZseError(message[:1].lower() + message[1:], hint)
    explained.code = getattr(error, "exit_code", USAGE)
    return explained
