"""Files that are whole or not there: written beside their name, which they take when they are finished.

What is written is always a file of one's own. A symbolic link that lies where it will be is replaced, never followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from zsecli import locks
from zsecli.errors import UsageError, refusal, system_number

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # which Windows has not
NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def partial_path(path: Path) -> Path:
    """Where `path` is written until it is finished."""
    return path.parent / f"{path.name}.partial"  # not with_name(), which refuses "."


def settle(path: Path) -> None:
    """Give the finished `partial_path(path)` its name, replacing an older file at once."""
    with partial_path(path).open("r+b") as file:  # Windows flushes no file that is open to be read
        os.fsync(file.fileno())  # else a power cut could leave the name without the content
    os.replace(partial_path(path), path)


def check_file(path: Path) -> None:
    """UsageError where `path`, or what it links to, is a folder, a pipe or a device: files alone are replaced."""
    if path.exists() and not path.is_file():
        what = "is a folder" if path.is_dir() else "is a pipe, a socket or a device"
        raise UsageError(f"{path}: {what}", "give the name of a file")


@contextlib.contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Files to write in the places of `paths`; they take these names when the block ends, or go if it fails.

    Raises:
        StoreError: another process is writing one of them. UsageError: one of them is no file.
    """
    for path in paths:
        check_file(path)
    made: list[Path] = []
    with contextlib.ExitStack() as held:
        try:
            for path in paths:
                held.callback(_claim(partial_path(path), partial_path(path)))
                made.append(partial_path(path))
            yield list(made)
            for path in paths:
                settle(path)
                made.remove(partial_path(path))
        except Exception as error:
            number = system_number(error)
            if number is None or getattr(error, "filename", None):
                raise
            raise refusal(number, paths[0]) from error  # of a write that fails it does not say where
        finally:
            for file in made:
                file.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(path: Path, wait: bool = False) -> Iterator[None]:
    """This process alone works on `path` while the block lasts; a killed one blocks nobody.

    Args:
        wait: until another is done.

    Raises:
        StoreError: another process does, and is not waited for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    release = _claim(lock, path, wait)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        release()


def _claim(path: Path, target: Path, wait: bool = False) -> Callable[[], None]:
    """Make an empty file under this name, which no other process has until the function that is returned is called.

    What a killed run left there is emptied; a link, by which another file would be written, goes.

    Args:
        target: what is written meanwhile, for messages. wait: until the process that holds it is done.

    Raises:
        StoreError: another process holds it. ZseError: an I/O error.
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            there = path.lstat()
            if not stat.S_ISREG(there.st_mode) or there.st_nlink > 1:
                path.unlink()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | NO_LINK | NO_WAIT, 0o666)
        try:
            holding = locks.hold(descriptor, path, target, wait)
        except BaseException:
            os.close(descriptor)
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.lstat()):  # else who held it has renamed or removed it
                os.ftruncate(descriptor, 0)
                if holding is None:
                    return partial(os.close, descriptor)
                os.close(descriptor)  # Windows renames and removes no file that is open
                return partial(holding.unlink, missing_ok=True)
        os.close(descriptor)
        if holding is not None:
            holding.unlink(missing_ok=True)


def no_link(path: str, flags: int) -> int:
    """An `opener` of `open()` for a file that is added to: the system refuses a symbolic link."""
    return os.open(path, flags | NO_LINK, 0o666)
