"""Fixtures of all tests: a `zse` in this process or in a shell, and a workspace that is ready for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("helpers")  # before any of them is imported

from helpers.commands import Done, Zse, call, set_up_process  # noqa: E402
from helpers.demo import some_pictures  # noqa: E402

set_up_process()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Log messages with names of files that are no UTF-8 come home from a worker of pytest-xdist, which sends text."""
    report = yield
    report.sections = [(title, text.encode("utf-8", "backslashreplace").decode()) for title, text in report.sections]
    return report
