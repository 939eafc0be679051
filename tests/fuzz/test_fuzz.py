"""Readers of what strangers write: the corpus of the fuzzer again, some changes of it, and a short hunt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.corpus import FOLDER, get_archive, read_corpus, unpack_corpus
from fuzz.mutate import mutate
from fuzz.targets import TARGETS

pytestmark = pytest.mark.fuzz

SLOW = {
    "store-structure": 8,
    "embed-list": 10,
    "unseen": 10,
    "ranks": 15,
    "match-stdin": 10,
    "where": 15,
}  # examples of those that take longest
TEXTS = sorted(TARGETS.keys() - {"store-structure", "store-bytes", "tensors"})
LIGHT = {"config": 3000, "manifest": 500, "keypoints": 1500}  # inputs of the short hunt


def examples(count: int) -> settings:
    return settings(derandomize=True, max_examples=count, deadline=None, database=None)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    """Among it all that ever broke a reader."""
    inputs = read_corpus(name)
    assert inputs
    for title, data in inputs.items():
        try:
            TARGETS[name][1](data)
        except BaseException as error:
            error.add_note(f"the input is {title} in {get_archive(name)}")
            raise


def test_the_corpus_is_small() -> None:
    sizes = [len(data) for name in TARGETS for data in read_corpus(name).values()]
    assert sum(sizes) < 300_000
    assert max(sizes) < 9_000
    assert {archive.stem for archive in FOLDER.iterdir()} == TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_changes_of_the_corpus(name: str) -> None:
    @examples(SLOW.get(name, 60))
    @given(st.sampled_from(list(read_corpus(name).values())), st.randoms(use_true_random=False))
    def check(data: bytes, chance: Random) -> None:
        TARGETS[name][1](mutate(data, chance))

    check()


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_and_any_bytes(name: str) -> None:
    @examples(SLOW.get(name, 40))
    @given(
        st.one_of(st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=40))
    )
    def check(data: bytes) -> None:
        TARGETS[name][1](data)

    check()


@pytest.mark.parametrize("name", LIGHT)
def test_a_short_hunt(tmp_path: Path, name: str) -> None:
    """Guided by the code that is reached; `make fuzz` is the long one."""
    pytest.importorskip("atheris", reason="atheris has no wheel for this Python or this machine")
    options = [f"-runs={LIGHT[name]}", "-seed=1", "-max_len=4096", "-timeout=20", f"-artifact_prefix={tmp_path}/"]
    paths = os.pathsep.join([str(FOLDER.parents[1]), str(FOLDER.parents[2])])
    env = {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(tmp_path)}
    (tmp_path / "new").mkdir()  # inputs that reach new code go into the first folder
    seeds = unpack_corpus(name, tmp_path / "seeds")
    command = [sys.executable, "-m", "fuzz.engine", name, *options, tmp_path / "new", seeds]
    # libFuzzer reads the peak of its memory from the system, which begins with that of the process that forked it
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]
    done = subprocess.run([*shell, *command], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"Done {LIGHT[name]} runs" in done.stderr
