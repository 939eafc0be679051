"""A `zse` for tests: in this process where that is enough, as a command of the shell where it is not."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from zsecli import cli
from zsecli.cli import signals
from zsecli.runtime import console
from zsecli.store import seal
from zsecli.store.rows import write_rows
from zsecli.store.seal import SUM

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side and share the cores
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a script runs them in the background

DEMO = Path(__file__).resolve().parents[1] / "fixtures" / "demo"
CLASSES, INSTANCES = ("animal-bird", "drink", "lock"), 2


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def ok(self) -> str:
        """Its output without the last newline; fails where the command did."""
        assert (self.code, self.err) == (0, "")
        return self.out.removesuffix("\n")

    def refused(self, code: int, *words: str) -> str:
        """Its two lines on stderr; fails unless it ended with `code`, an error and a hint that hold `words`."""
        lines = self.err.splitlines()
        assert self.code == code, self.err
        assert self.out == ""
        assert [line.split(":")[0] for line in lines] == ["error", "hint"], self.err
        for word in words:
            assert word in self.err
        return self.err


def call(folder: Path, *words: object, stdin: bytes = b"", stderr: Any = None, **env: str | None) -> Done:
    """`zse WORDS` in `folder`, in this process, with the pixels model unless `env` has another ZSE_MODEL."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("ZSE_")]:
            patch.delenv(name)
        for name, value in {"ZSE_MODEL": "pixels", "COLUMNS": "100", "TERM": "xterm", **env}.items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        patch.setattr(sys, "argv", ["zse", *map(str, words)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", stderr or err)
        patch.setattr(console, "quiet", False)
        patch.setattr(console, "debug", False)
        for hook in ("unraisablehook", "excepthook"):
            patch.setattr(sys, hook, getattr(sys, hook))
        handlers = [(number, signal.getsignal(number)) for number in signals.STOPS]
        with pytest.raises(SystemExit) as end:
            cli.main()
        for number, handler in handlers:
            signal.signal(number, handler)
        out.flush()
        err.flush()
    code = end.value.code
    assert isinstance(code, int)
    # surrogateescape: what a shell would see where a name is no UTF-8
    return Done(code, *(s.buffer.getvalue().decode(errors="surrogateescape") for s in (out, err)))  # type: ignore[attr-defined]


Zse = Callable[..., Done]


@pytest.fixture
def zse(tmp_path: Path) -> Zse:
    """`zse(*words)` in the test's own folder."""
    return lambda *words, **settings: call(tmp_path, *words, **settings)


@pytest.fixture
def shell(tmp_path: Path) -> Zse:
    """`shell(script)`: run by sh in the test's own folder, with the installed `zse` and the pixels model."""

    def run(script: str, code: int = 0, **env: str) -> Done:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ZSE_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        kept |= {"PATH": path, "ZSE_MODEL": "pixels", **env}
        done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PYTHONPATH on which importing torch or timm fails: what runs there has not needed them."""
    folder = tmp_path_factory.mktemp("light")
    for name in ("torch", "timm"):
        (folder / f"{name}.py").write_text(f"raise ImportError('{name} is not needed here')\n")
    return str(folder)


def some_pictures(root: Path) -> Path:
    """A tree of a few demo pictures at `root`: 18 sketches and 24 photos of 6 objects in 3 classes."""
    for name in CLASSES:
        photos = sorted((DEMO / "photo" / name).iterdir())
        wanted = sorted({file.name.split("__")[0] for file in photos})[:INSTANCES]
        for modality in ("photo", "sketch"):
            (root / modality / name).mkdir(parents=True)
            for file in (DEMO / modality / name).iterdir():
                if file.name.split("__")[0] in wanted:
                    shutil.copy(file, root / modality / name)
    return root


def part_of_demo(folder: Path, objects: int, unseen: Container[str] | None = None) -> Path:
    """A manifest in `folder` of so many objects of each class of the demo, all of which are unseen if none is named."""
    with (DEMO / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    every = sorted({(row["class"], row["instance"]) for row in rows})
    few = {one for _, some in itertools.groupby(every, lambda one: one[0]) for one in itertools.islice(some, objects)}
    for modality in ("sketch", "photo"):
        (folder / modality).symlink_to(DEMO / modality)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            row["split"] = "unseen" if unseen is None or row["class"] in unseen else "seen"
            if (row["class"], row["instance"]) in few:
                writer.writerow(row)
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of `some_pictures`. Not to be changed."""
    return some_pictures(tmp_path_factory.mktemp("tree") / "pictures")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder whose workspace `zse` has `pictures` prepared, embedded and ranked by pixels. Not to be changed."""
    folder = tmp_path_factory.mktemp("prepared")
    call(folder, "prepare", "folder", pictures).ok()
    call(folder, "match").ok()
    return folder


@pytest.fixture
def ready(tmp_path: Path, prepared: Path) -> Path:
    """The test's own copy of the workspace of `prepared`."""
    return Path(shutil.copytree(prepared / "zse", tmp_path / "zse"))


@pytest.fixture
def sketch(tmp_path: Path, pictures: Path) -> Path:
    """`sketch.png` in the test's own folder: a drawn rooster."""
    file = next((pictures / "sketch" / "animal-bird").glob("*fluent-hc.png"))
    return Path(shutil.copy(file, tmp_path / "sketch.png"))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be loaded: a command that still works has computed nothing."""

    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("zsecli.model.load.load", load)


@contextlib.contextmanager
def changing(store: Path) -> Iterator[h5py.File]:
    """A store for a test to change, with checksums of what is there then: without them no reader would look at it."""
    with h5py.File(store, "r+") as file:
        yield file
        for name in seal.rows_of(file):
            if file[name].shape[:1] == file[name + SUM].shape:
                write_rows(file, name, slice(0, len(file[name])), file[name][:])
    reseal(store)


def reseal(store: Path) -> None:
    with h5py.File(store) as file:
        ranges = seal.outside(file)
    seal.add(store, ranges)


def contents(store: Path) -> dict[str, Any]:
    """Every dataset of a store but its provenance, which says how it was called."""
    found: dict[str, Any] = {}
    with h5py.File(store) as file:
        file.visititems(lambda name, node: found.update({name: node[()]}) if isinstance(node, h5py.Dataset) else None)
        found["run-key"] = file.attrs["run-key"]
    del found["provenance"]
    return found


def same(one: Path, other: Path) -> bool:
    a, b = contents(one), contents(other)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=_real(a[k])) for k in a)


def _real(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Time and bytes of every file below a folder."""
    return {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}
