"""One writer at a time where the system locks no files, and where Python cannot ask it to."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.commands import Zse, call
from helpers.demo import DEMO
from zsecli.errors import StoreError, ZseError
from zsecli.runtime import locks
from zsecli.runtime.files import atomic_write, exclusive_lock

REFUSED = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, 524]
TESTS = Path(__file__).parents[1]


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.EOPNOTSUPP)


def refuse_locks(patch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    patch.setattr(fcntl, "flock", flock)


def held_by(folder: Path, **changes: object) -> Path:
    """The file that says that another process writes `folder`/a: by default this one."""
    values = {"zse": "lock", **vars(locks._this_process()), **changes}
    file = folder / ".a.lock.held"
    file.write_text(json.dumps(values))
    return file


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_second_of_two_is_told(tmp_path: Path, no_locks: None) -> None:
    path = tmp_path / "a"
    with exclusive_lock(path):
        with pytest.raises(StoreError, match="a: another zse is writing it") as error, exclusive_lock(path):
            pass
        assert f"wait for process {os.getpid()}" in error.value.hint
    assert not list(tmp_path.iterdir())
    with exclusive_lock(path), atomic_write(path) as (partial,):
        with pytest.raises(StoreError, match="another zse is writing it"), atomic_write(path):
            pass
        partial.write_text("first")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


def test_one_that_waits_gets_its_turn(tmp_path: Path, no_locks: None) -> None:
    order = []

    def work(name: str) -> None:
        with exclusive_lock(tmp_path / "a", wait=True):
            order.append(name)
            time.sleep(0.01)
            order.append(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, "abcd"))
    assert order[::2] == order[1::2] and sorted(order[::2]) == list("abcd")


def test_a_killed_process_blocks_nobody(tmp_path: Path, no_locks: None) -> None:
    code = f"""
import fcntl, os, signal, sys
def flock(*_): raise OSError(95, "Operation not supported")
fcntl.flock = flock
from pathlib import Path; from zsecli.runtime.files import exclusive_lock
with exclusive_lock(Path({str(tmp_path / "a")!r})): os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    assert (tmp_path / ".a.lock.held").is_file()
    with exclusive_lock(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


GONE: dict[str, Callable[[], dict[str, object]]] = {
    "ended": lambda: {"pid": ended_process()},
    "another of the same number": lambda: {"started": "1"},
    "before the machine started again": lambda: {"boot": "another", "pid": os.getpid()},
}
NOT_KNOWN: dict[str, dict[str, object]] = {
    "another machine": {"host": "another", "pid": 1},
    "a machine without a name": {"host": "localhost", "boot": "another"},
    "another container": {"namespace": "pid:[1]", "pid": 2**22 - 1},
}


@pytest.mark.parametrize("kind", GONE)
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not tell processes apart")
def test_a_process_that_has_certainly_ended_is_succeeded(tmp_path: Path, no_locks: None, kind: str) -> None:
    held_by(tmp_path, **GONE[kind]())
    with exclusive_lock(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", NOT_KNOWN)
def test_of_a_process_elsewhere_the_user_decides(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, no_locks: None
) -> None:
    if kind == "a machine without a name":
        monkeypatch.setattr(locks, "_this_machine", lambda: ("localhost", "boot", ""))
    file = held_by(tmp_path, **NOT_KNOWN[kind])
    with pytest.raises(StoreError, match="another zse is writing it") as error, exclusive_lock(tmp_path / "a"):
        pass
    hint = error.value.hint
    assert hint.endswith(f"if it is gone, delete {file}")
    Path(hint.rpartition("delete ")[2]).unlink()
    with exclusive_lock(tmp_path / "a"):
        pass


@pytest.mark.parametrize("kind", ["text", "JSON", "a link", "a folder"])
def test_a_file_that_is_no_lock_stays(tmp_path: Path, no_locks: None, kind: str) -> None:
    file, other = tmp_path / ".a.lock.held", tmp_path / "other"
    other.write_text("mine")
    if kind == "a folder":
        file.mkdir()
    elif kind == "a link":
        file.symlink_to(other)
    else:
        file.write_text("mine" if kind == "text" else '{"zse": 4}')
    with pytest.raises(StoreError, match="is in the way of a lock"), exclusive_lock(tmp_path / "a"):
        pass
    assert os.path.lexists(file) and other.read_text() == "mine"


def test_a_process_killed_before_it_said_its_name(tmp_path: Path, no_locks: None) -> None:
    file = tmp_path / ".a.lock.held"
    file.touch()
    with pytest.raises(StoreError, match="another zse is writing it"), exclusive_lock(tmp_path / "a"):
        pass
    os.utime(file, (time.time() - 60,) * 2)
    with exclusive_lock(tmp_path / "a"):
        pass


def test_of_many_that_succeed_a_killed_process_one_works(tmp_path: Path, no_locks: None) -> None:
    gone = ended_process()
    inside, most, done = 0, 0, 0
    count = threading.Lock()

    def work(_: int) -> None:
        nonlocal inside, most, done
        try:
            with exclusive_lock(tmp_path / "a"):
                with count:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0.005)
                with count:
                    inside -= 1
                    done += 1
        except StoreError:
            pass

    for _ in range(20):
        held_by(tmp_path, pid=gone)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
    assert most == 1 and done >= 20


def test_a_process_that_finds_locks_sees_one_that_found_none(tmp_path: Path) -> None:
    """They may see the same folder by different ways."""
    with pytest.MonkeyPatch.context() as patch:
        refuse_locks(patch, errno.ENOLCK)
        first = exclusive_lock(tmp_path / "a")
        first.__enter__()
    with pytest.raises(StoreError, match="another zse is writing it"), exclusive_lock(tmp_path / "a"):
        pass
    first.__exit__(None, None, None)
    with exclusive_lock(tmp_path / "a"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", REFUSED)
def test_a_store_is_written_and_read_without_locks(
    tmp_path: Path, sketch: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_locks(monkeypatch, number)
    for _ in range(2):  # the second is up to date
        assert call(tmp_path, "embed", sketch, "--modality", "sketch", "-o", "a.h5").ok() == "a.h5"
    assert call(tmp_path, "inspect", "a.h5").out.startswith("file ")
    assert {file.name for file in tmp_path.iterdir()} == {"a.h5", "sketch.png"}


def test_an_input_output_error_is_one(tmp_path: Path, sketch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch, errno.EIO)
    words = ("embed", sketch, "--modality", "sketch", "-o", "a.h5")
    hint = call(tmp_path, *words).refused(1, "error: a.h5: Input/output error").splitlines()[1]
    name, _, value = hint.rpartition("set ")[2].partition("=")
    assert call(tmp_path, *words, **{name: value}).ok() == "a.h5"
    assert call(tmp_path, "inspect", "a.h5").code == 0
    with pytest.raises(ZseError, match="Input/output error"), atomic_write(tmp_path / "b"):
        pass


@pytest.fixture(scope="session")
def preload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets flock() fail in the whole process, in HDF5's too, with the number in NOLOCK."""
    if not (sys.platform.startswith("linux") and shutil.which("gcc")):
        pytest.skip("needs Linux and gcc")
    folder = tmp_path_factory.mktemp("preload")
    (folder / "lock.c").write_text(
        "#include <errno.h>\n#include <stdlib.h>\n"
        'int flock(int file, int how) { errno = atoi(getenv("NOLOCK")); return -1; }\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "lock.so", "lock.c"], cwd=folder, check=True)
    return folder / "lock.so"


@pytest.mark.parametrize(
    ("locking", "number"),
    [("TRUE", 37), ("FALSE", 5), ("BEST_EFFORT", 95), ("nonsense", 524), ("", 38), (None, 22)],
)
def test_hdf5_asks_for_no_locks(tmp_path: Path, preload: Path, locking: str | None, number: int) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(TESTS)!r})
import zsecli.store
import os; from pathlib import Path; from helpers.writing import write; from zsecli.store.hdf5 import open_store
with open_store(write("features", Path("a.h5"))) as file:
    print(len(file["ret"]), os.environ.get("HDF5_USE_FILE_LOCKING"))
"""
    env = {**os.environ, "LD_PRELOAD": str(preload), "NOLOCK": str(number)}
    env.pop("HDF5_USE_FILE_LOCKING", None)
    if locking is not None:
        env["HDF5_USE_FILE_LOCKING"] = locking
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, f"7 {locking}\n"), done.stderr


WITHOUT = """
import os, signal, sys, torch, h5py, PIL.Image  # which have ways of their own on Windows
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty"): sys.modules[name] = None
for module, names in (
    (os, ("register_at_fork", "fork", "sched_getaffinity", "geteuid", "getuid", "mkfifo", "O_NOFOLLOW", "O_NONBLOCK")),
    (signal, ("pthread_sigmask", "SIGHUP", "SIGALRM", "setitimer", "siginterrupt")),
):
    for name in names: delattr(module, name)
if __name__ == "__main__":
    from zsecli.cli import main
    for line in sys.argv[1].split(";"):
        sys.argv = ["zse", *line.split()]
        try: main()
        except SystemExit as end:
            if end.code: sys.exit(f"{line}: {end.code}")
"""


def test_the_commands_work_without_what_windows_lacks(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "without.py").write_text(WITHOUT)
    (tmp_path / "unseen.txt").write_text("lock\n")
    lines = (
        f"prepare folder {pictures} --unseen unseen.txt -q",
        "embed --data pictures --part all --model pixels",
        "match --data pictures --model pixels -o ranking.h5",
        "evaluate ranking.h5 -o report.json",
        "evaluate ranking.h5 -o report.json --sheet sheet.png",
        "inspect ranking.h5",
    )
    done = subprocess.run(
        [sys.executable, "without.py", ";".join(lines)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"ranking.h5", "report.json", "sheet.png"} <= {file.name for file in tmp_path.iterdir()}
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".held", ".lock", ".partial")]


def test_processes_that_decode_can_be_spawned(tmp_path: Path, zse: Zse) -> None:
    """As on Windows and macOS, where none is forked."""
    file = next((DEMO / "sketch" / "lock").iterdir())
    code = f"""
import sys, torch.multiprocessing
from zsecli.cli import main
if __name__ == "__main__":
    torch.multiprocessing.set_start_method("spawn")
    sys.argv = ["zse", "embed", {str(file)!r}, *"--modality sketch --model pixels --workers 1 -o a.h5".split()]
    main()
"""
    (tmp_path / "spawn.py").write_text(code)
    done = subprocess.run([sys.executable, "spawn.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "a.h5\n", "")
    assert zse("inspect", "a.h5").code == 0
