"""Commands with options that nobody would type: an answer, or two lines, whatever the values are."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.scratch import run, scratch
from zsecli.cli.app import top

pytestmark = pytest.mark.fuzz

FILES = (
    *("tree", "tree/photo/cat/a.jpg", "tree/sketch/cat/a.png", "zse", "zse/datasets/tree.h5", "nowhere", "-", "."),
    *("zse/features/tree.unseen.pixels.h5", "zse/rankings/tree.unseen.pixels.ret.h5", "manifest.csv", "c.toml"),
)
ODD = (
    *("", " ", "0", "1", "-1", "3", "0.5", "1e999", "nan", "9" * 25, "9" * 5000, "x", "tree", "ä", "a\nb", "a\0b"),
    *("\x1b[2J", "\u202e", "\udcff", "a" * 300, "--", "-x", "1/2", "a=b", "=", ",", "(", "[", "1..2"),
)
# of models those that are here, and of presets and trunks no names, for which timm would look; workers are processes
ONLY = {
    "model": ("pixels", "hog", "nowhere.safetensors", "frozen:", "c.toml", "tree"),
    "against": ("pixels", "nowhere.h5", "zse/rankings/tree.unseen.pixels.ret.h5", "zse/datasets/tree.h5"),
    "preset": ("paper", "small", "released"),
    "backbone": ("small", "paper"),
    "workers": ("0", "-1", "x", "", "9" * 25),
    "dataset": ("nowhere", "", "a" * 300),  # of train, which takes minutes
}
ELSEWHERE = ["--host", "192.0.2.1", "--allow-host", "x"]  # no machine has this address: zse draw would serve for ever


def texts(param: Any) -> st.SearchStrategy[str]:
    """Values of an option or an argument: those it has a name for, odd ones, any text that leads to no other folder."""
    if param.name in ONLY:
        return st.sampled_from(ONLY[param.name])
    named = [text for text in (param.metavar or "").split("|") if text.islower()]
    free = st.text(max_size=8).filter(lambda text: "/" not in text and ".." not in text)
    return st.one_of(st.sampled_from((*named, *named, *FILES, *ODD)), free)


@st.composite
def lines(draw: st.DrawFn, name: str) -> list[str]:
    """The words of a command line."""
    params = [param for param in top().commands[name].params if param.name != "help"]
    arguments = [param for param in params if param.param_type_name == "argument"]
    options = [param for param in params if param.param_type_name == "option"]
    words = [name]
    for param in draw(st.lists(st.sampled_from(options), max_size=4, unique_by=lambda param: param.name)):
        words.append(draw(st.sampled_from([*param.opts, *param.secondary_opts])))
        if not param.is_flag:
            words.append(draw(texts(param)))
    for param in arguments:
        if param.required or name == "train" or draw(st.booleans()):
            words.append(draw(texts(param)))
    return words + ELSEWHERE if name == "draw" else words


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the scratch folder, as a command may write where it is told to."""
    folder = tmp_path_factory.mktemp("cli") / "folder"
    shutil.copytree(scratch(), folder)
    (folder / "c.toml").write_text('[match]\ntop = 3\n[evaluate]\nsplit = "zs-intra"\n')
    return folder


@pytest.mark.parametrize("name", top().commands)
def test_any_option_values_get_an_answer_or_an_error(folder: Path, name: str) -> None:
    @settings(derandomize=True, max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(lines(name), st.sampled_from((b"", b"tree/photo/cat/a.jpg\n", b"\xff\0")))
    def check(words: list[str], stdin: bytes) -> None:
        run(*words, stdin=stdin, folder=folder)

    check()
