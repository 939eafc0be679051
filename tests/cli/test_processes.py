"""zse among other processes: pipes, terminals, names that only a file system could love, and being stopped."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image, ImageOps

from helpers.commands import Done, Zse, call
from helpers.files import files
from helpers.stores import have_same_datasets
from helpers.tiny import TINY, build
from zsecli.cli import signals
from zsecli.images.loader import load_input
from zsecli.model import checkpoint
from zsecli.retrieval import picture_reader as reader

pytestmark = pytest.mark.processes

# a blank in front, quotes, what a shell would expand, a tab, a newline, separators that str.splitlines() knows
NAMES = [
    " a b.png",
    'it\'s "it".png',
    "$(x) *;&.png",
    "ünï ☃ 草.png",
    "tab\there.png",
    "\u2028x\x0b.png",
    "-n.png",
    "c\\t.png",
    "carriage\rreturn.png",
    "\x1cf\x1dg\x1er\x0cp\x85n\u2029.png",
]
NEWLINE = "line\nfeed.png"


@pytest.fixture
def named(tmp_path: Path, sketch: Path) -> Path:
    """A folder with a picture of every name."""
    folder = tmp_path / "na mes"
    folder.mkdir()
    for name in [*NAMES, NEWLINE]:
        shutil.copy(sketch, folder / name)
    return folder


@pytest.fixture
def unembedded(prepared: Path, tmp_path: Path) -> Path:
    """The test's own folder with a workspace that has the data set of `prepared` alone."""
    shutil.copytree(prepared / "zse" / "datasets", tmp_path / "zse" / "datasets")
    return tmp_path


def ids(store: Path) -> set[str]:
    with h5py.File(store) as file:
        return {Path(name).name for name in file["items/id"].asstr()[:]}


def test_any_name_comes_through(zse: Zse, named: Path, tmp_path: Path) -> None:
    paths = [f"na mes/{name}".encode() for name in NAMES]
    by_line = tmp_path / zse("embed", "-", "--modality", "photo", stdin=b"\n".join(paths)).ok()
    by_dos_line = tmp_path / zse("embed", "-", "--modality", "photo", stdin=b"\r\n".join(paths) + b"\r\n").ok()
    assert by_line == by_dos_line
    assert ids(by_line) == set(NAMES)
    every = b"\0".join([*paths, f"na mes/{NEWLINE}".encode()])
    by_zero = tmp_path / zse("embed", "-", "--modality", "photo", stdin=every + b"\0").ok()
    assert ids(by_zero) == {*NAMES, NEWLINE}
    assert tmp_path / zse("embed", named.name, "--modality", "photo", "--overwrite").ok() != by_line


def test_any_name_is_told_apart_in_the_hits(zse: Zse, named: Path, sketch: Path) -> None:
    photos = zse("embed", named.name, "--modality", "photo").ok()
    query = zse("embed", "sketch.png", "--modality", "sketch").ok()
    printed = zse("match", query, photos, "--top", "20", "--format", "json").ok()
    hits = printed.split("\n")
    assert printed.splitlines() == hits  # no name ends a line for a program that knows more of them
    assert {Path(json.loads(hit)["photo"]).name for hit in hits} == {*NAMES, NEWLINE}
    printed = zse("match", query, photos, "--top", "20", "--format", "tsv").ok()
    table = printed.split("\n")
    assert printed.splitlines() == table
    cells = [line.split("\t") for line in table]
    assert {len(row) for row in cells} == {4}
    written = {Path(row[3]).name for row in cells}
    escape = {"\\": r"\\"} | {c: ascii(c)[1:-1] for c in "\t\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"}
    assert written == {"".join(escape.get(c, c) for c in name) for name in [*NAMES, NEWLINE]}


def test_a_name_in_bytes_that_are_no_text_is_skipped(zse: Zse, sketch: Path, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    shutil.copy(sketch, tmp_path / "p" / "good.png")
    try:
        shutil.copy(sketch, os.fsencode(tmp_path / "p") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system has no such names")
    for words, stdin in ((("p",), b""), (("-",), b"p/good.png\np/\xff.png\n")):
        done = zse("embed", *words, "--modality", "photo", stdin=stdin)
        assert done.code == 4
        assert done.err.splitlines() == [r"skipped: p/\udcff.png: its name is not UTF-8"]
        assert ids(tmp_path / done.out.strip()) == {"good.png"}


def test_a_workspace_of_any_name_comes_through_the_pipe(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    for folder in (" it's ünï", os.fsdecode(b"\xff")):
        try:
            (tmp_path / folder).mkdir()
        except OSError:
            continue
        inside: dict[str, Any] = {"ZSE_WORKSPACE": f"{folder}/w"}
        zse("prepare", "folder", pictures, **inside).ok()
        features = zse("embed", **inside).ok()
        assert features.startswith(folder)
        ranking = zse("match", "-", **inside, stdin=os.fsencode(features) + b"\n").ok()
        assert zse("evaluate", "-", stdin=os.fsencode(ranking)).ok() == zse("evaluate", **inside).ok()


def test_the_two_lines_of_the_manual(shell: Zse, sketch: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(pictures / "photo", tmp_path / "photos")
    listed = shell("find photos -name '*.webp' | zse embed - --modality photo -o photos.h5")
    assert (listed.out, listed.err) == ("photos.h5\n", "")
    done = shell("zse embed sketch.png | zse match - photos.h5 --top 5 --format tsv")
    assert done.err == ""
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert [row[:2] for row in rows] == [["sketch.png", str(rank)] for rank in range(1, 6)]
    assert "1F413" in rows[0][3]  # a rooster for a rooster


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("script", "lines", "code"),
    [
        # written at once and read by nobody; `head` may be gone before or after the last line is written
        ("{ zse match --top 24 --format tsv; echo $? >&2; } | true", 0, None),
        ("{ zse evaluate; echo $? >&2; } | true", 0, None),
        ("{ zse match --top 24 --format json; echo $? >&2; } | head -n 1", 1, None),
        ("zse match --format tsv > /dev/full; echo $? >&2", 0, 1),
        ("zse match >&-; echo $? >&2", 0, 0),
        ("zse match 2>&-", 1, None),
        ("zse match - <&-; echo $? >&2", 0, 2),
    ],
)
def test_a_closed_or_full_stream_is_no_traceback(
    shell: Zse, light: str, script: str, lines: int, code: int | None
) -> None:
    if "/dev/full" in script and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = shell(script, PYTHONPATH=light)
    assert len(done.out.splitlines()) == lines
    words = done.err.split()
    if code is None:
        assert words in ([], ["0"], ["1"])  # silent; a closed pipe may come too late to be noticed
    else:
        assert words[-1] == str(code)
        assert "Traceback" not in done.err
        assert "Exception" not in done.err


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("words", "out", "code"),
    [
        ("embed --bogus", "", 2),
        ("match sketch.png nope.h5", "", 3),
        ("embed sketch.png /no.png --modality sketch -o x.h5", "x.h5\n", 4),
        ("embed bright.png --modality sketch -o x.h5", "x.h5\n", 0),  # of which it says that it was inverted
    ],
)
def test_what_stderr_cannot_take_changes_nothing(
    zse: Zse, shell: Zse, sketch: Path, tmp_path: Path, words: str, out: str, code: int
) -> None:
    with Image.open(sketch) as image:
        ImageOps.invert(image.convert("L")).save(tmp_path / "bright.png")
    done = zse(*words.split())
    assert done.code == code and done.err != ""
    if Path("/dev/full").exists():
        assert shell(f"rm -f x.h5; zse {words} 2>/dev/full", code).out == out
    (tmp_path / "x.h5").unlink(missing_ok=True)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        command = [sys.executable, "-m", "zsecli", *words.split()]
        env = {**os.environ, "ZSE_MODEL": "pixels"}
        done = subprocess.run(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=broken, text=True)
    assert (done.returncode, done.stdout) == (code, out)


def test_a_bar_that_the_terminal_cannot_take_changes_nothing(
    zse: Zse, ready: Path, prepared: Path, tmp_path: Path
) -> None:
    class Gone(io.StringIO):
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "gone")

    shutil.rmtree(ready / "features")
    done = zse("embed", stderr=Gone())
    assert done.code == 0
    assert have_same_datasets(tmp_path / done.out.strip(), prepared / done.out.strip())


def test_names_are_utf_8_whatever_the_locale(shell: Zse, sketch: Path) -> None:
    sketch.rename(sketch.with_name("猫.png"))
    embed = "zse embed 猫.png --modality sketch -o 猫.h5"
    assert shell(f"{embed} | zse inspect -", PYTHONIOENCODING="latin-1").out == shell("zse inspect 猫.h5").out
    assert shell(embed, PYTHONIOENCODING="latin-1").out == "猫.h5\n"


def watch(run: Callable[[Any], object]) -> str:
    """What a person sees on the terminal that `run` is given as a text stream."""
    reader, writer = pty.openpty()
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                data = os.read(reader, 65536)
            except OSError:  # the other end is closed
                return
            if not data:
                return
            seen.extend(data)

    thread = threading.Thread(target=read)
    thread.start()
    with open(writer, "w") as terminal:
        run(terminal)
    thread.join(10)
    os.close(reader)
    return seen.decode()


def test_a_person_at_the_terminal_sees_how_it_goes(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    out = []
    seen = watch(lambda terminal: out.append(zse("prepare", "folder", pictures, stderr=terminal)))
    assert out[-1].out == "zse/datasets/pictures.h5\n"
    assert "18 sketches, 24 photos, 3 classes" in seen
    assert "reading" in seen
    assert "next: zse evaluate" in seen
    seen = watch(lambda terminal: out.append(zse("match", stderr=terminal)))
    assert out[-1].out == "zse/rankings/pictures.unseen.pixels.ret.h5\n"
    assert "pictures: 42 of 42 pictures (unseen)" in seen
    assert "embedding" in seen
    assert "42/42" in seen
    assert "\r" in seen
    assert "up to date" not in seen
    assert "up to date" in watch(lambda terminal: out.append(zse("match", stderr=terminal)))
    assert watch(lambda terminal: out.append(zse("match", "-q", stderr=terminal))) == ""
    assert {done.code for done in out} == {0}


@pytest.mark.parametrize("value", ["0", "1", "-5", "none", "²", "٣", "9" * 30, "", " 80"])
def test_a_table_is_whole_whatever_columns_says(zse: Zse, pictures: Path, value: str) -> None:
    """Widths and heights that no terminal has are as good as none."""
    words = ("prepare", "folder", pictures)
    seen = watch(lambda terminal: zse(*words, stderr=terminal, COLUMNS=value, LINES=value))
    assert "18 sketches, 24 photos, 3 classes" in seen


def test_on_a_terminal_the_hits_and_the_report_are_tables(prepared: Path, light: str) -> None:
    def show(*words: str) -> Callable[[Any], object]:
        command = [sys.executable, "-m", "zsecli", *words]
        env = {**os.environ, "ZSE_MODEL": "pixels", "PYTHONPATH": light, "COLUMNS": "120", "TERM": "xterm"}
        return lambda end: subprocess.run(command, cwd=prepared, env=env, stdout=end, stderr=end, stdin=end, check=True)

    hits = watch(show("match"))
    assert "same class" in hits
    assert "and 8 more queries" in hits
    assert "next: zse evaluate zse/rankings/pictures.unseen.pixels.ret.h5" in hits
    assert "95 % interval" in watch(show("evaluate"))


STOP = """
import os, signal, sys
from zsecli.retrieval import extract
from zsecli.store.writer import Writer
extract.COMMIT = 4
number, rows = int(sys.argv.pop(1)), int(sys.argv.pop(1))
commit = Writer.commit
def commit_and_stop(self, done):
    commit(self, done)
    if done >= rows:
        os.killpg(0, number)  # a terminal's Ctrl-C reaches the workers too
Writer.commit = commit_and_stop
from zsecli.cli import main
main()
"""


def stop(folder: Path, number: int, trap: str = "") -> Done:
    """`zse embed` in `folder`, sent the signal after 12 pictures by itself; `trap`: what a shell does before."""
    command = [sys.executable, "-c", STOP, str(int(number)), "12", "embed", "--batch-size", "4", "--workers", "1"]
    env = {**os.environ, "ZSE_MODEL": "pixels"}
    shell = ["sh", "-c", f'{trap} exec "$0" "$@"', *command]
    done = subprocess.run(shell, cwd=folder, env=env, capture_output=True, text=True, start_new_session=True)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["SIGINT", "SIGKILL"])
def test_what_was_stopped_goes_on(
    prepared: Path, unembedded: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    stopped = stop(unembedded, number)
    assert (stopped.code, stopped.out) == (code, "")
    said = ["interrupted: the same command goes on from what is done"] if code == 130 else []
    assert stopped.err.splitlines() == said
    assert {f.suffix for f in files(unembedded / "zse" / "features")} - {".lock"} == {".partial"}

    read = []
    monkeypatch.setattr(reader, "load_input", lambda *words, **more: read.append(words) or load_input(*words, **more))
    features = call(unembedded, "embed", "--batch-size", "4").ok()
    assert len(read) == 42 - 12
    assert have_same_datasets(unembedded / features, prepared / features)
    assert len(files(unembedded / "zse" / "features")) == 1


def test_what_was_started_to_ignore_ctrl_c_goes_on(prepared: Path, unembedded: Path) -> None:
    """As a shell starts what runs in the background of a script: Ctrl-C is for what runs in front."""
    features = stop(unembedded, signal.SIGINT, trap="trap '' INT;").ok()
    assert have_same_datasets(unembedded / features, prepared / features)


KILLED = """
import os, signal
from zsecli.retrieval import extract
from zsecli.store.writer import Writer
extract.COMMIT = 6
Writer.commit = lambda self, done: os.kill(os.getpid(), signal.SIGKILL)
from zsecli.cli import main
main()
"""


def test_no_worker_outlives_its_killed_parent(unembedded: Path) -> None:
    """A worker has stderr open: the pipe ends when the last of them has."""
    command = [sys.executable, "-c", KILLED, "embed", "--batch-size", "6", "--workers", "2"]
    checkpoint.save(build(TINY), unembedded / "tiny.safetensors")  # whose batches are more than a pipe holds
    env = {**os.environ, "ZSE_MODEL": "tiny.safetensors"}
    killed = subprocess.run(command, cwd=unembedded, env=env, capture_output=True, timeout=30)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, b"")


def test_a_worker_never_hears_ctrl_c(unembedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the midst of anything else than its loop it would die with a traceback, and this process with an error."""

    def deaf(*words: Any, **more: Any) -> Any:
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return load_input(*words, **more)

    monkeypatch.setattr(reader, "load_input", deaf)
    assert call(unembedded, "embed", "--workers", "1").code == 0
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_ctrl_c_that_python_drops_is_heard(zse: Zse, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal may arrive while a destructor runs: what is raised there goes nowhere."""

    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def describe(*_: Any) -> None:
        Interrupted()
        time.sleep(20)

    monkeypatch.setattr("zsecli.stages.inspect.describe", describe)
    done = zse("inspect", prepared / "zse" / "datasets" / "pictures.h5")
    assert (done.code, done.out) == (130, "")
    assert done.err == "interrupted: the same command goes on from what is done\n"


def test_a_ctrl_c_while_modules_are_imported_is_heard(shell: Zse, tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    done = shell("zse --version", 130, PYTHONPATH=f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert (done.out, done.err) == ("", "interrupted: the same command goes on from what is done\n")


@pytest.mark.parametrize(("first", "code"), [(True, 130), (False, 0)])
def test_a_ctrl_c_at_the_very_end_is_no_traceback(
    zse: Zse, prepared: Path, monkeypatch: pytest.MonkeyPatch, first: bool, code: int
) -> None:
    def late() -> None:
        signal.raise_signal(signal.SIGINT)
        ignore()

    ignore = signals.ignore
    monkeypatch.setattr(signals, "ignore", late)
    if first:
        monkeypatch.setattr("zsecli.stages.inspect.describe", lambda *_: signal.raise_signal(signal.SIGINT))
    done = zse("inspect", prepared / "zse" / "datasets" / "pictures.h5")
    assert done.code == code
    assert "Traceback" not in done.err


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc")
def test_a_worker_does_not_hold_the_store(unembedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its parent is killed it lives on for a while, and would keep the lock."""

    def look(*words: Any, **more: Any) -> Any:
        held = [os.readlink(fd.path) for fd in os.scandir("/proc/self/fd") if Path(fd.path).exists()]
        assert not [name for name in held if name.endswith(".partial")]
        return load_input(*words, **more)

    monkeypatch.setattr(reader, "load_input", look)
    assert call(unembedded, "embed", "--workers", "1").code == 0


FORKED = """
import multiprocessing, time
from zsecli.cli import signals
signals.hear(signals.Work())
process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
process.start()
process.terminate()
process.join()
print(process.exitcode)
"""


def test_a_process_that_was_forked_ends_without_a_word() -> None:
    """When the run is stopped before such a process has begun its own work, it has the run's ears still."""
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("-15\n", "")


HALF_MADE = """
import os, signal, sys
from zsecli.cli import signals
class Half:
    def __del__(self):
        self.workers
signals.hear(signals.Work())
half = Half()
try:
    if sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("stopped")
del half
"""


def test_what_is_stopped_half_made_does_not_complain() -> None:
    said = [
        subprocess.run([sys.executable, "-c", HALF_MADE, *words], capture_output=True, text=True, timeout=60)
        for words in ([], ["stop"])
    ]
    assert "AttributeError" in said[0].stderr  # else nothing is hidden
    assert (said[1].stdout, said[1].stderr) == ("stopped\n", "")
