"""Words and bars on stderr. stdout is for data."""

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
# control characters, those that turn the direction of text, line separators, bytes that are no text
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_BREAKS = re.compile(r"[\x00\t-\r\x1c-\x1e\x85\u2028\u2029]")  # what ends a line, a cell or all for some program
_JSON_BREAKS = re.compile(r"[\x7f-\x9f\u2028\u2029]")  # JSON escapes the others itself
_HALVES = re.compile(r"[\ud800-\udc7f\udd00-\udfff]")  # all surrogates but those that stand for bytes


def escape_for_terminal(text: str) -> str:
    r"""`text` on one line that no terminal takes for orders: names come from strangers.

    >>> escape_for_terminal("a\x1b[2Jb\n")
    'a\\x1b[2Jb\\n'
    """
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


def escape_line_breaks(text: str) -> str:
    r"""`text` on one line for every program that splits lines, all else as it is.

    >>> escape_line_breaks("a\rb\u2028c\td é")
    'a\\rb\\u2028c\\td é'
    """
    return _BREAKS.sub(lambda found: ascii(found[0])[1:-1], text)


def escape_json_line_breaks(text: str) -> str:
    r"""JSON on one line for every program that splits lines: JSON may hold line separators as they are, too.

    >>> escape_json_line_breaks('{"a": "b\u2028\x85"}')
    '{"a": "b\\u2028\\u0085"}'
    """
    return _JSON_BREAKS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def escape_for_stdout(text: str) -> str:
    """`text` for stdout: `plain` on a terminal; in a pipe as it is, but for halves of characters, which are escaped."""
    return escape_for_terminal(text) if sys.stdout.isatty() else _HALVES.sub(lambda found: ascii(found[0])[1:-1], text)


def is_quiet() -> bool:
    """Whether stderr is for warnings and errors alone: --quiet was given, or another process of the job talks."""
    return quiet or is_background()


def is_watched() -> bool:
    """Whether progress and notes are wanted: a person watches stderr and did not say -q."""
    return not is_quiet() and sys.stderr.isatty()


def print_info(message: str) -> None:
    """Something good to know; silent where nobody watches."""
    if is_watched():
        print(escape_for_terminal(message), file=sys.stderr)


def print_notice(message: str) -> None:
    """What was done to the inputs that they did not ask for; said even where nobody watches, but not under -q."""
    if not is_quiet():
        print(f"note: {escape_for_terminal(message)}", file=sys.stderr)


def print_warning(message: str) -> None:
    """Something that changes what the result means; said even where nobody watches."""
    print(f"warning: {escape_for_terminal(message)}", file=sys.stderr)


def print_skipped(pairs: list[tuple[str, str]]) -> None:
    """The list of inputs that could not be used; on a terminal no more of it than fits."""
    listed = pairs[:SHOWN] if sys.stderr.isatty() else pairs
    for name, why in listed:
        print(f"skipped: {escape_for_terminal(f'{name}: {why}')}", file=sys.stderr)
    if more := len(pairs) - len(listed):
        print(f"skipped: and {more} more (2> FILE keeps the whole list)", file=sys.stderr)


def print_plan(message: str) -> None:
    """What --dry-run would do: asked for, so always said."""
    print(escape_for_terminal(message), file=sys.stderr)


class Words:
    """A stream for words, on which no result may depend: those that it cannot take (a full disk, a closed pipe) go."""

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
