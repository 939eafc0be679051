"""Files that are complete or not there: written beside their final name, which they take when they are finished.

A symbolic link at the final name is replaced, never followed: nobody else's file is written. A side file (`.partial`,
`.lock`, `.hashes`) is reused or removed only where its content says that zse made it; where a user's file has its
name, the side file takes the next one: `NAME.2.partial`.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial as bind
from itertools import count
from pathlib import Path

from zsecli.errors import UsageError, get_errno, system_error
from zsecli.runtime import locks
from zsecli.runtime.marks import HEAD, is_own_file

LOCK_MARK = b"zse"  # a lock file is empty, or begins so
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # 0 on Windows
NO_WAIT = getattr(os, "O_NONBLOCK", 0)


def partial_path(path: Path) -> Path:
    """Where `path` is written until it is finished."""
    return path.parent / f"{path.name}.partial"  # not with_name(), which refuses "."


def side_paths(path: Path) -> Iterator[Path]:
    """The names that the side file `path` may have, in the order in which they are tried.

    >>> from itertools import islice
    >>> [str(name) for name in islice(side_paths(Path("a.h5.partial")), 3)]
    ['a.h5.partial', 'a.h5.2.partial', 'a.h5.3.partial']
    """
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}.{number}{path.suffix}")


def is_foreign(path: Path, made_by_zse: Callable[[bytes], bool] = is_own_file, *, in_place: bool = True) -> bool:
    """Whether something at `path` was not made by zse: a file with content but no mark, or a folder, pipe or device.

    A symbolic link is not foreign: it is replaced, and its target is not touched.

    Args:
        made_by_zse: whether a file that begins with these bytes was made by zse.
        in_place: it would be written where it is; then a file with a second name (a hard link) is foreign too, as the
            other name would lose its content.
    """
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            return False
        if not stat.S_ISREG(status.st_mode) or (in_place and status.st_nlink > 1):
            return True
        with path.open("rb") as file:
            return status.st_size > 0 and not made_by_zse(file.read(HEAD))
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def move_into_place(path: Path, partial: Path) -> None:
    """Give the finished file `partial` the name `path`, replacing an older file at once."""
    with partial.open("r+b") as file:  # Windows flushes no file that is opened for reading
        os.fsync(file.fileno())  # else a power cut could leave the name without the content
    os.replace(partial, path)


def check_is_file(path: Path) -> None:
    """UsageError where `path`, or its target, is a folder, a pipe or a device: only files are replaced."""
    if path.is_dir():
        raise UsageError(f"{path}: is a folder", "give the name of a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: is a pipe, a socket or a device", "give the name of a file")


@contextlib.contextmanager
def atomic_write(*paths: Path) -> Iterator[list[Path]]:
    """Files to write instead of `paths`; they take these names when the block ends, and are removed if it fails.

    Raises:
        StoreError: another process is writing one of them. UsageError: one of them is no file.
    """
    for path in paths:
        check_is_file(path)
    partials: list[Path] = []
    with contextlib.ExitStack() as claims:
        try:
            for path in paths:
                partial, release = _claim(partial_path(path), partial_path(path), is_own_file)
                claims.callback(release)
                partials.append(partial)
            yield list(partials)
            for path, partial in zip(paths, list(partials), strict=True):
                move_into_place(path, partial)
                partials.remove(partial)
        except Exception as error:
            number = get_errno(error)
            if number is None or getattr(error, "filename", None):
                raise
            raise system_error(number, paths[0]) from error  # the error of a failed write names no file
        finally:
            for partial in partials:
                partial.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive_lock(path: Path, wait: bool = False) -> Iterator[None]:
    """A lock on `path` while the block lasts; a killed process leaves none.

    Args:
        wait: wait until another process releases it.

    Raises:
        StoreError: another process holds it, and `wait` is False.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(f".{path.name}.lock")
    lock, release = _claim(lock_path, path, lambda head: head.startswith(LOCK_MARK), wait)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        release()


def _claim(
    side_path: Path, target: Path, made_by_zse: Callable[[bytes], bool], wait: bool = False
) -> tuple[Path, Callable[[], None]]:
    """Lock an empty file under the first free name of a side file; returns it, and the function that releases it.

    A file that a killed run left is emptied; a symbolic link, through which another file would be written, is removed.
    A file that zse did not make (`is_foreign`) stays as it is, and the next of `side_paths(side_path)` is taken.

    Args:
        target: the file that is written meanwhile, for messages.
        wait: wait until the process that holds it is done.

    Raises:
        StoreError: another process holds it, and `wait` is False.
        ZseError: an I/O error.
    """
    names = side_paths(side_path)
    path = next(names)
    while True:
        with contextlib.suppress(FileNotFoundError):
            kind = path.lstat().st_mode  # read once: another process may make the file between two looks
            if stat.S_ISLNK(kind):
                path.unlink()
            elif not stat.S_ISREG(kind):  # a folder, a pipe or a device
                path = next(names)
                continue
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | NO_LINK | NO_WAIT, 0o666)
        except PermissionError:
            if not path.exists():  # writing to the folder is not allowed
                raise
            path = next(names)
            continue
        try:
            holding = locks.hold_file(descriptor, path, target, wait)
        except BaseException:
            os.close(descriptor)
            raise
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.lstat()):  # else its holder has renamed or removed it
                if not is_foreign(path, made_by_zse):  # looked at under the lock: a file being written has no mark yet
                    os.ftruncate(descriptor, 0)
                    if holding is None:
                        return path, bind(os.close, descriptor)
                    os.close(descriptor)  # Windows renames and removes no file that is open
                    return path, bind(holding.unlink, missing_ok=True)
                path = next(names)
        os.close(descriptor)
        if holding is not None:
            holding.unlink(missing_ok=True)


def refuse_links(path: str, flags: int) -> int:
    """An `opener` of `open()` for a file that is added to: the system refuses a symbolic link."""
    return os.open(path, flags | NO_LINK, 0o666)
