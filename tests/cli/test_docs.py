"""The documentation says what the commands do: their help, and the examples of the README."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.commands import Zse, call
from helpers.demo import DEMO
from zsecli.cli.app import top

ROOT = DEMO.parents[1]
COMMANDS = ROOT / "docs" / "commands.md"
TOP = top()
NAMES = list(TOP.commands)

HEAD = """# Commands

The `--help` of every command, 100 columns wide. Common to all:

- stdout carries only data: the path of the finished store, or what `--format` or `--json` requests. Notes and
  progress go to stderr if it is a terminal; errors, skipped inputs and changes made to a sketch always do. Names are
  UTF-8 in and out, whatever the locale. If stderr cannot be written (a full disk, a closed pipe), nothing else
  changes.
- An error is two lines, the problem and a remedy, and an exit code: 1 failed, 2 wrong usage, 3 a store or checkpoint
  that cannot be used, 4 done but some inputs were skipped, 130 interrupted. `--debug` adds the traceback.
- A finished stage says "up to date" and computes nothing. `-o` never replaces other content without `--overwrite`.
  With it, an output may replace a file, but never an input, under any name or link, and never a folder, pipe or
  device. A store replaces only a store of its own kind.
- Options on the command line take precedence over the environment, then `--config FILE.toml`, then defaults. The file
  has a section for each command and a key for each long option; an unknown key is an error:

```toml
[embed]
model = "frozen:tf_efficientnet_lite0"
batch-size = 64

[match]
center = true
```
"""


def page(folder: Path) -> str:
    """docs/commands.md as it should be."""
    parts = [HEAD]
    for words in ([], *([name] for name in NAMES)):
        shown = call(folder, *words, "--help", ZSE_MODEL=None).ok()
        parts.append(f"## {' '.join(['zse', *words])}\n\n```\n{shown}\n```\n")
    return "\n".join(parts)


def test_the_page_of_commands_is_true(tmp_path: Path) -> None:
    expected = page(tmp_path)
    if os.environ.get("ZSE_WRITE_DOCS"):
        COMMANDS.write_text(expected, "utf-8")
    written = COMMANDS.read_text("utf-8") if COMMANDS.exists() else ""
    assert written == expected, (
        "docs/commands.md is out of date; ZSE_WRITE_DOCS=1 pytest tests/cli/test_docs.py writes it"
    )


def test_the_file_of_defaults_on_the_page_is_right(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(HEAD.split("```")[1].removeprefix("toml"))
    assert zse("prepare", "demo", "--dry-run", "--config", "c.toml").code == 0  # which checks every section


@pytest.mark.parametrize("name", NAMES)
def test_every_command_explains_itself(name: str) -> None:
    command = TOP.commands[name]
    assert re.search(rf"\n +zse {name}\b", command.help), "an example"
    for param in command.params:
        flag = getattr(param, "is_flag", False)
        assert param.help, f"{param.name} has no help"
        assert param.help[-1] in ".)", f"the help of {param.name} is no sentence"
        assert flag or param.name == "help" or param.metavar, f"{param.name} has no name for its value"


@pytest.mark.parametrize("words", [[], *([name] for name in NAMES)], ids=lambda words: " ".join(words) or "zse")
def test_help_fits_the_page_and_names_no_types(tmp_path: Path, words: list[str]) -> None:
    shown = call(tmp_path, *words, "-h").ok()
    assert max(map(len, shown.splitlines())) <= 100
    assert not re.search(r"<\w+>|TEXT\b|INTEGER\b", shown)


@pytest.mark.parametrize(
    "words", ["--help", "--version", "embed --help", "match --help", "evaluate --help", "nonsense"]
)
def test_help_needs_nothing_heavy(tmp_path: Path, words: str) -> None:
    for name in ("torch", "timm", "h5py", "numpy", "PIL", "rich"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not needed here')\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [Path(sys.executable).with_name("zse"), *words.split()]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert "not needed" not in done.stderr
    assert done.returncode == (2 if words == "nonsense" else 0)


def test_no_command_is_answered_with_the_help(zse: Zse) -> None:
    done = zse()
    assert (done.code, done.out) == (2, "")
    assert done.err == zse("--help").out


def blocks() -> list[str]:
    """The blocks of the README that run here: of zse, on pictures, without weights from elsewhere."""
    found = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    chosen = []
    for block in found:
        lines = [line.removeprefix("$ ") for line in block.splitlines() if line.strip() and not line.startswith("#")]
        runs_here = (
            not re.match(r"(make|pip|git|python3?|uv)\b", " ".join(lines))
            and "frozen:" not in block
            and "/data/" not in block
            and "zse draw" not in block  # which serves until it is interrupted
        )
        if runs_here and any(re.search(r"(^|\| *|\$\()zse ", line) for line in lines):
            chosen.append("\n".join(lines))
    return chosen


@pytest.fixture
def scratch(tmp_path: Path, pictures: Path, sketch: Path) -> Path:
    """A folder as the README supposes it: sketch.png, photo.jpg, other.jpg, photos/, and the tree pictures/."""
    shutil.copytree(pictures, tmp_path / "pictures")
    (tmp_path / "photos").mkdir()
    for file in (pictures / "photo").glob("*/*"):
        shutil.copy(file, tmp_path / "photos")
    for name, file in zip(("photo", "other"), sorted((tmp_path / "photos").iterdir()), strict=False):
        with Image.open(file) as opened:
            opened.convert("RGB").save(tmp_path / f"{name}.jpg")
    return tmp_path


def run_line(folder: Path, shell: Zse, line: str, model: str) -> None:
    """A line of a block: commands of zse in this process, each fed with the output of the one before; others by sh."""
    commands = [shlex.split(command, comments=True) for command in line.split(" | ")]
    if any(words[0] != "zse" for words in commands):
        shell(line, ZSE_MODEL=model)
        return
    output = ""
    for words in commands:
        done = call(folder, *words[1:], stdin=output.encode(), ZSE_MODEL=model)
        assert done.code == 0, done.err
        output = done.out


@pytest.mark.network
@pytest.mark.processes
@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.split("\n")[0])
def test_a_block_of_the_readme_runs(scratch: Path, shell: Zse, block: str) -> None:
    """With the pixels model where that will do: only a network explains."""
    for line in block.splitlines():
        run_line(scratch, shell, line, model="small" if "explain" in block else "pixels")
