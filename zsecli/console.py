"""Words and bars on stderr. stdout is for data."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

quiet = False  # both are set once by the command line
debug = False


def talks() -> bool:
    """Whether progress and notes are wanted: a person watches stderr and did not say -q."""
    return not quiet and sys.stderr.isatty()


def note(message: str) -> None:
    """Something good to know; silent where nobody watches."""
    if talks():
        print(message, file=sys.stderr)


def warn(message: str) -> None:
    """Something that changes what the result means; said even where nobody watches."""
    print(f"warning: {message}", file=sys.stderr)


def skipped(pairs: list[tuple[str, str]]) -> None:
    """The list of inputs that could not be used."""
    for name, why in pairs[:20]:
        shown = name.encode(errors="backslashreplace").decode()  # a name may be bytes that are no text
        print(f"skipped: {shown}: {why}", file=sys.stderr)
    if len(pairs) > 20:
        print(f"skipped: and {len(pairs) - 20} more (zse inspect lists them)", file=sys.stderr)


def plan(message: str) -> None:
    """What --dry-run would do: asked for, so always said."""
    print(message, file=sys.stderr)


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
def progress(label: str) -> Iterator[Progress]:
    """A bar with rate and time left, gone when the work is done."""
    if not talks():
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
