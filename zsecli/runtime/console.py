"""Messages and progress bars on stderr. stdout is for data."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

from zsecli.runtime.distributed import is_background

quiet = False  # both are set once by the command line
debug = False
SHOWN = 20  # lines of a list on a terminal
# Control characters, those that turn the direction of text, line separators, surrogates.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = re.compile(r"[\x00\t-\r\x1c-\x1e\x85\u2028\u2029]")  # what ends a line, a cell or a file for some program
_JSON_BREAKS = re.compile(r"[\x7f-\x9f\u2028\u2029]")  # JSON escapes the other ones itself
_SURROGATES = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # but those that stand for bytes


def _escape_match(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]


def escape_for_terminal(text: str) -> str:
    r"""`text` on one line without what a terminal takes as commands: names come from strangers.

    >>> escape_for_terminal("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    return _UNSAFE.sub(_escape_match, text)


def escape_line_breaks(text: str) -> str:
    r"""`text` on one line for every program that splits lines, otherwise as it is.

    >>> escape_line_breaks("a\rb\u2028c\td é")
    'a\\rb\\u2028c\\td é'
    """
    return _BREAKS.sub(_escape_match, text)


def escape_json_line_breaks(text: str) -> str:
    r"""JSON on one line for every program that splits lines: JSON may hold line separators as they are, too.

    >>> escape_json_line_breaks('{"a": "b\u2028\x85"}')
    '{"a": "b\\u2028\\u0085"}'
    """
    return _JSON_BREAKS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_for_stdout(text: str) -> str:
    """`text` for stdout: as `escape_for_terminal` on a terminal; in a pipe only surrogates are escaped."""
    return escape_for_terminal(text) if sys.stdout.isatty() else _SURROGATES.sub(_escape_match, text)


def is_quiet() -> bool:
    """Whether stderr is for warnings and errors alone: --quiet was given, or another process of the job talks."""
    return quiet or is_background()


def is_watched() -> bool:
    """Whether progress and information are wanted: stderr is a terminal and -q was not given."""
    return not is_quiet() and sys.stderr.isatty()


def print_info(message: str) -> None:
    """Print information; silent unless stderr is a terminal."""
    if is_watched():
        print(escape_for_terminal(message), file=sys.stderr)


def print_notice(message: str) -> None:
    """Print that an input was handled in a way that nobody asked for, unless -q was given."""
    if not is_quiet():
        print(f"note: {escape_for_terminal(message)}", file=sys.stderr)


def print_warning(message: str) -> None:
    """Print what changes the meaning of a result."""
    print(f"warning: {escape_for_terminal(message)}", file=sys.stderr)


def print_skipped(pairs: list[tuple[str, str]]) -> None:
    """Print the list of inputs that could not be used; on a terminal no more of it than fits."""
    listed = pairs[:SHOWN] if sys.stderr.isatty() else pairs
    for name, reason in listed:
        print(f"skipped: {escape_for_terminal(f'{name}: {reason}')}", file=sys.stderr)
    if left := len(pairs) - len(listed):
        print(f"skipped: and {left} more (2> FILE keeps the whole list)", file=sys.stderr)


def print_plan(message: str) -> None:
    """Print a line of a dry run's report."""
    print(escape_for_terminal(message), file=sys.stderr)


class MessageStream:
    """A stream for messages, which are dropped where they cannot be written (a full disk, a closed pipe)."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class Progress:
    """Called with the number of things just done; the total may be known only once work starts."""

    def __init__(self, bars: Any = None, task: Any = None) -> None:
        self._bars, self._task = bars, task

    def start(self, total: int) -> None:
        if self._bars is not None:
            self._bars.update(self._task, total=total)

    def __call__(self, count: int) -> None:
        if self._bars is not None:
            self._bars.advance(self._task, count)
            if speed := self._bars.tasks[0].speed:
                self._bars.update(self._task, rate=f"{speed:.3g}/s")


SILENT = Progress()


@contextlib.contextmanager
def show_progress(label: str) -> Iterator[Progress]:
    """A bar with rate and time left, gone when the work is done."""
    if not is_watched():
        yield SILENT
        return
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Progress(bars, bars.add_task(label, total=None, rate=""))
