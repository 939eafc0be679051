"""The one error type a user meets: what is wrong, and what to do about it."""

from __future__ import annotations

import difflib
import errno
import os
import re
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


class DryRunEnded(Exception):
    """A dry run cannot know more before something is made; the message says what would be made first."""


def get_errno(error: BaseException | None) -> int | None:
    """The system's number of what it refused (`errno`); HDF5 and safetensors have it in a text alone."""
    found = re.search(r"(?:errno = |os error )(\d+)", str(error))
    return getattr(error, "errno", None) or (int(found[1]) if found else None)


def system_error(number: int, path: object) -> ZseError:
    """What the system refused to do with `path`, in words."""
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ZseError(f"{path}: no space left", "free some, then run the command again: it goes on where it stopped")
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ZseError(f"{path}: not allowed", "look at its rights, or give another place with -o or --workspace")
    return ZseError(f"{path}: {os.strerror(number)}", "the system refused it: look at the path and the disk")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of `names` is close to `name`, else nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
