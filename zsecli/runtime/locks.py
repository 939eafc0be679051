"""One process at a time: by the system's lock on a file, or by a second file beside it that names its holder.

Some network file systems have no locks, and Python on Windows has none of this kind. The second file is made with
O_EXCL, which fails where it exists already; it names a process, so that one which was killed blocks nobody on its
machine.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from zsecli.errors import StoreError, ZseError

fcntl: Any = None  # on Windows
with contextlib.suppress(ImportError):
    fcntl = importlib.import_module("fcntl")

POLL = 0.1  # seconds between two looks at a file that another process holds
YOUNG = 10  # seconds within which a process that has made its file has also written into it
NAMELESS = ("", "localhost", "localhost.localdomain")  # names that several machines have


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a file.

    Boot, namespace and start tell processes of the same number apart; "" where the system does not say.
    """

    host: str
    boot: str  # id of the machine's boot
    namespace: str  # of process numbers: the container
    pid: int
    started: str  # when the process began, in the system's own measure
    since: int  # Unix time at which it took the file


def hold_file(descriptor: int, path: Path, target: Path, wait: bool = False) -> Path | None:
    """Take the file `path`, which is open as `descriptor`, for this process.

    Args:
        target: the file that is written meanwhile, for messages.
        wait: wait until the process that holds it is done.

    Returns:
        None where the system locks it until `descriptor` is closed; else the file to remove when the work is done.

    Raises:
        StoreError: another process holds it, and `wait` is False.
        ZseError: the system's lock ends in an I/O error.
    """
    holding = path.with_name(f".{path.name.removeprefix('.')}.held")
    if _lock(descriptor, target, wait) and not os.path.lexists(holding):
        return None
    while not _make(holding):
        text = _read(holding)
        if text is None:
            continue
        holder = _parse(text, holding)
        if holder is None or _is_gone(holder):
            _remove(holding, text)
        elif not wait:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
            hint = (
                f"wait for process {holder.pid} on {holder.host}, which began {since}; if it is gone, delete {holding}"
            )
            raise StoreError(f"{target}: another zse is writing it", hint if holder.pid else "wait for it")
        else:
            time.sleep(POLL)
    return holding


def _lock(descriptor: int, target: Path, wait: bool) -> bool:
    """Whether the system has locked the file; False where it does not lock files.

    Raises:
        StoreError: another process has locked it. ZseError: an I/O error, unless the user says that there are no locks.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise StoreError(f"{target}: another zse is writing it", "wait for it") from error
    except OSError as error:
        if error.errno == errno.EIO and os.environ.get("HDF5_USE_FILE_LOCKING", "").upper() not in ("FALSE", "0"):
            raise ZseError(
                f"{target}: Input/output error: the system cannot lock it",
                "look at the disk; where nothing but locks fails, set HDF5_USE_FILE_LOCKING=FALSE",
            ) from error
        return False
    return True


def _make(holding: Path) -> bool:
    """Make the file that says that this process holds another; False where it exists."""
    try:
        descriptor = os.open(holding, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump({"zse": "lock", **asdict(_this_process())}, file)
    except OSError:  # the disk is full
        holding.unlink(missing_ok=True)
        raise
    return True


def _read(holding: Path) -> str | None:
    """The content of the file; None where it is gone."""
    try:
        if holding.is_symlink() or not holding.is_file():
            if not os.path.lexists(holding):
                return None
            raise OSError
        return holding.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{holding}: is in the way of a lock", "delete it, or give it another name") from error


def _parse(text: str, holding: Path) -> Holder | None:
    """The process that a file names; None where it was killed before it had written its name.

    Raises:
        StoreError: the file is not one of zse's.
    """
    if not text:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - holding.stat().st_mtime < YOUNG:
                return Holder(host="", boot="", namespace="", pid=0, started="", since=int(time.time()))
        return None
    try:
        values = json.loads(text)
        if values.pop("zse") != "lock" or not isinstance(values["pid"] + values["since"], int):
            raise ValueError
        return Holder(**values)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise StoreError(f"{holding}: is in the way of a lock", "delete it, or give it another name") from error


def _remove(holding: Path, text: str) -> None:
    """Remove the file with the content `text`, of a process that has ended, and no other that replaced it by now.

    No system call removes a file only where it has a certain content. So the permission to remove this one is a file
    of its own, named after that content: one process has it, and nobody else can replace the file meanwhile.
    """
    permission = holding.with_name(f"{holding.name}.{hashlib.sha256(text.encode()).hexdigest()[:12]}")
    if not _make(permission):
        owner = _read(permission)
        if owner is not None and _has_ended(owner, permission):  # killed before it was done
            _remove(permission, owner)
        time.sleep(POLL / 10)
        return
    try:
        if _read(holding) == text and _has_ended(text, holding):
            holding.unlink(missing_ok=True)
    finally:
        permission.unlink(missing_ok=True)


def _has_ended(text: str, holding: Path) -> bool:
    """Whether the process that a file names has certainly ended, or was killed before it had written its name."""
    holder = _parse(text, holding)
    return holder is None or _is_gone(holder)


def _is_gone(holder: Holder) -> bool:
    """Whether the process has certainly ended; unknown for other machines and containers."""
    here = _this_process()
    if holder.host != here.host:
        return False
    if holder.boot != here.boot:
        return holder.host not in NAMELESS
    if holder.namespace != here.namespace:
        return False
    return not _is_alive(holder.pid) or _start_of(holder.pid) != holder.started


def _is_alive(pid: int) -> bool:
    if pid <= 0:
        return False
    if sys.platform == "win32":  # where os.kill() would end the process
        import ctypes

        kernel = ctypes.windll.kernel32
        process = kernel.OpenProcess(0x1000, False, pid)  # the right to query its state alone
        if not process:
            return bool(kernel.GetLastError() == 5)  # it is another user's
        code = ctypes.c_ulong()
        kernel.GetExitCodeProcess(process, ctypes.byref(code))
        kernel.CloseHandle(process)
        return code.value == 259  # still active
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def _this_process() -> Holder:
    host, boot, namespace = _this_machine()
    pid = os.getpid()
    return Holder(host=host, boot=boot, namespace=namespace, pid=pid, started=_start_of(pid), since=int(time.time()))


@cache
def _this_machine() -> tuple[str, str, str]:
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with contextlib.suppress(OSError, AttributeError):
        namespace = os.readlink("/proc/self/ns/pid")
    return platform.node(), boot, namespace


def _start_of(pid: int) -> str:
    """When a process began, in the system's own measure; "" where that is not known, "ended" of one that has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return ""
    return "ended" if state in ("Z", "X") else fields[18]
