"""The one error type a user meets: what is wrong, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

DONE, FAILED, USAGE, UNUSABLE, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class ZseError(Exception):
    """A failure with its remedy; the command line prints `error: message` and `hint: hint`."""

    code = FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


class UsageError(ZseError):
    """The words of the command are off: exit code 2."""

    code = USAGE


class StoreError(ZseError):
    """A store or a checkpoint that cannot be used: exit code 3."""

    code = UNUSABLE


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of `names` is close to `name`, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
