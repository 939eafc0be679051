"""Errors for users: what is wrong, and what to do about it."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Iterable

# Exit codes.
DONE = 0
FAILED = 1
USAGE = 2
UNUSABLE = 3
SKIPPED = 4
INTERRUPTED = 130


class ZseError(Exception):
    """A failure and how to fix it; the command line prints `error: message` and `hint: hint`."""

    code = FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ZseError):
    """Wrong usage of a command or a function: exit code 2."""

    code = USAGE


class StoreError(ZseError):
    """A store or a checkpoint that cannot be used: exit code 3."""

    code = UNUSABLE


class DryRunEnded(Exception):
    """A dry run cannot know more before something is made; the message says what would be made first."""


def get_errno(error: BaseException | None) -> int | None:
    """The system's error number; HDF5 and safetensors have it in a text alone. None where there is none."""
    number: int | None = getattr(error, "errno", None)
    if number:
        return number
    match = re.search(r"(?:errno = |os error )(\d+)", str(error))
    return int(match[1]) if match else None


def system_error(number: int, path: object) -> ZseError:
    """The error for what the system refused to do with `path`."""
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ZseError(f"{path}: no space left", "free some, then run the command again: it goes on where it stopped")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ZseError(f"{path}: not allowed", "look at its rights, or give another place with -o or --workspace")
    return ZseError(f"{path}: {os.strerror(number)}", "the system refused it: look at the path and the disk")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of `names` is close to `name`, else nothing."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
