"""A store under its final name is whole; what a killed run committed is taken up; one process writes a file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from helpers.stores import dump_store
from helpers.writing import COUNT, items, write
from zsecli.errors import StoreError, UsageError, ZseError
from zsecli.runtime.files import partial_path
from zsecli.store import features
from zsecli.store.dataset import read_dataset
from zsecli.store.features import FeatureWriter, open_features
from zsecli.store.hdf5 import is_up_to_date, open_store
from zsecli.store.ranking import RankingWriter, open_ranking
from zsecli.store.rows import write_rows
from zsecli.store.writer import check_target


def write_elsewhere(kind: str, path: Path, key: str = "a", death: str = "") -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path; from helpers.writing import write
write({kind!r}, Path({str(path)!r}), {key!r}, {death!r})
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("kind", "death", "committed"),
    [
        ("features", "before commit 0", 0),
        ("features", "after commit 0", 2),
        ("features", "before commit 4", 4),
        ("features", "after commit 6", 7),
        ("features", "before the rename", 7),
        ("ranking", "before commit 2", 2),
        ("ranking", "before the rename", 7),
        ("dataset", "before the rename", 7),
    ],
)
def test_a_killed_writer_leaves_a_partial_file_and_its_successor_goes_on(
    tmp_path: Path, kind: str, death: str, committed: int
) -> None:
    whole, path = write(kind, tmp_path / "whole.h5"), tmp_path / "killed.h5"
    assert write_elsewhere(kind, path, death=death).returncode == -signal.SIGKILL
    assert [p.name for p in tmp_path.glob("killed*")] == ["killed.h5.partial"]
    with pytest.raises(StoreError, match="no such store") as error, open_store(path):
        pass
    assert "killed.h5.partial is unfinished" in error.value.hint
    assert not is_up_to_date(path, kind, "a")
    if death != "before the rename":
        with pytest.raises(StoreError, match="is not finished"), open_store(partial_path(path)):
            pass
    with h5py.File(partial_path(path)) as file:
        assert file["rows"][()] == committed
    write(kind, path)
    assert not partial_path(path).exists()
    assert dump_store(path) == dump_store(whole)


def test_committed_rows_are_not_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.h5"
    write_elsewhere("features", path, death="after commit 2")
    with h5py.File(partial_path(path), "r+") as file:
        write_rows(file, "ret", slice(0, 1), np.full((1, 4), 5))
    write("features", path, death="resumed")
    assert capsys.readouterr().out == "4\n"
    with open_features(path) as features:
        assert features.read("ret", slice(0, 1)).tolist() == [[5] * 4]


def spoil(path: Path, how: str) -> None:
    """Make a `.partial` file one that must not be taken up."""
    if how == "no HDF5":
        path.write_bytes(b"killed before the first flush")
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif how != "another run key":
        with h5py.File(path, "r+") as file:
            if how == "another version":
                file.attrs["zse-schema-version"] = "1.0"
            elif how == "another kind":
                file.attrs["zse-schema"] = "ranking"
            else:
                del file["rows"]


@pytest.mark.parametrize(
    "how", ["another run key", "another version", "another kind", "no rows", "truncated", "no HDF5"]
)
def test_a_partial_file_of_something_else_is_begun_afresh(tmp_path: Path, how: str) -> None:
    path, key = tmp_path / "a.h5", "b" if how == "another run key" else "a"
    write_elsewhere("features", path, death="after commit 2")
    spoil(partial_path(path), how)
    whole = write("features", tmp_path / "whole.h5", key)
    assert write("features", path, key).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("kind", ["dataset", "features", "ranking"])
def test_two_runs_write_the_same_bytes(tmp_path: Path, kind: str) -> None:
    first, second = (write(kind, tmp_path / name) for name in ("1.h5", "2.h5"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("committed", [0, 2])
@pytest.mark.parametrize("key", ["a", "b"])
def test_a_second_writer_is_refused_and_the_first_is_not_disturbed(tmp_path: Path, committed: int, key: str) -> None:
    """HDF5 would empty the file of the first before it finds that it is locked."""
    path, whole = tmp_path / "a.h5", write("ranking", tmp_path / "whole.h5")
    with h5py.File(whole) as file:
        indices, scores = file["indices"][:], file["scores"][:]
    with RankingWriter(path, "a", {}, items(), items(4), 4) as store:
        if committed:
            store.write(0, indices[:2], scores[:2])
        second = write_elsewhere("ranking", path, key)
        assert f"StoreError: {path}: another zse is writing it" in second.stderr
        store.write(committed, indices[committed:], scores[committed:])
        store.finish()
    assert dump_store(path) == dump_store(whole)


def test_nobody_takes_up_a_store_that_is_getting_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed then; who opened it now would hold the finished store, and HDF5 would take its seal."""
    said = []

    def settle(path: Path, partial: Path) -> None:
        said.append(write_elsewhere("ranking", path, "a").stderr)
        os.replace(partial, path)

    monkeypatch.setattr("zsecli.store.writer.move_into_place", settle)
    path = write("ranking", tmp_path / "a.h5")
    assert "another zse is writing it" in said[0]
    with open_ranking(path) as ranking:
        assert ranking.indices.shape == (COUNT, 4)


def test_a_file_that_appears_while_a_writer_starts_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    partial_path(path).write_bytes(b"of another process")
    monkeypatch.setattr(RankingWriter, "_continue_file", lambda *_: None)  # it looked a moment too early
    with pytest.raises(StoreError, match="another zse is writing it"):
        write("ranking", path)
    assert partial_path(path).read_bytes() == b"of another process"


def test_an_error_leaves_the_old_store_and_no_lock(tmp_path: Path) -> None:
    path = write("features", tmp_path / "a.h5")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError), FeatureWriter(path, "b", {}, items(), 4, 0, None):
        raise ZeroDivisionError
    assert path.read_bytes() == before
    write("features", path, "b")
    assert is_up_to_date(path, "features", "b")


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.ENOSPC, ZseError, "no space left"),
        (errno.EACCES, ZseError, "not allowed"),
        (errno.EROFS, ZseError, "not allowed"),
        (errno.EAGAIN, StoreError, "another zse is writing it"),
        (errno.ENOLCK, ZseError, "No locks available"),
        (errno.EIO, ZseError, "Input/output error"),
    ],
)
@pytest.mark.parametrize("when", ["begin", "write"])
def test_what_the_system_refuses_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, number: int, kind: type[ZseError], text: str
) -> None:
    path = tmp_path / "a.h5"

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((features, "write_items") if when == "begin" else (FeatureWriter, "commit")), refuse)
    with pytest.raises(ZseError, match=text) as error:
        write("features", path)
    assert type(error.value) is kind
    assert str(path) in error.value.message
    assert not path.exists()
    monkeypatch.undo()
    write("features", path)  # nothing is locked


@pytest.mark.parametrize("kind", ["features", "ranking"])
def test_rows_have_their_place_from_the_start(tmp_path: Path, kind: str) -> None:
    """HDF5 gives away no place while rows are written: what a full disk or a kill keeps it from noting down, the next
    run would give away again, and one row would lie over another."""
    sizes = set()
    store: FeatureWriter | RankingWriter
    table = items(40)
    store = (
        FeatureWriter(tmp_path / "a.h5", "k", {}, table, 32, 17, 16)
        if kind == "features"
        else RankingWriter(tmp_path / "a.h5", "k", {}, table, table, 40)
    )
    with store:
        for start in range(0, 40, 4):
            sizes.add(store.partial.stat().st_size)
            if isinstance(store, FeatureWriter):
                names, reasons = table.id[start : start + 4], ["", "no picture", "", "cut off"]
                tokens, index = np.ones((2, 17, 32), np.float32), np.zeros((2, 16), np.int16)
                store.write(names, reasons, np.ones((2, 32), np.float32), tokens, index)
            else:
                store.write(start, np.zeros((4, 40), np.int32), np.zeros((4, 40), np.float32))
        store.file.flush()
        sizes.add(store.partial.stat().st_size)
    assert len(sizes) == 1


def test_a_long_reason_keeps_its_ends(tmp_path: Path) -> None:
    with FeatureWriter(tmp_path / "a.h5", "k", {"preprocess": {}}, items(2), 4, 0, None) as store:
        store.write(["0.png", "1.png"], ["", "damaged: " + "ü猫" * 100 + " (too late)"], np.ones((1, 4), np.float32))
        store.finish()
    with open_features(tmp_path / "a.h5") as features:
        ((_, reason),) = features.skipped
    assert reason.startswith("damaged: ü猫ü") and "…" in reason and reason.endswith("ü猫 (too late)")
    assert 120 < len(reason.encode()) <= 128


def test_a_target_whose_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ZseError, match=r"file/a\.h5") as error:
        write("dataset", tmp_path / "file" / "a.h5")
    assert "another zse" not in error.value.message


def test_another_content_is_replaced_only_when_told_to(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    check_target(path, "dataset", False)
    write("dataset", path)
    check_target(path, "dataset", True)
    with pytest.raises(UsageError, match="already holds something"):
        check_target(path, "dataset", False)
    with pytest.raises(UsageError, match="is a folder"):
        check_target(tmp_path, "dataset", True)


@pytest.mark.parametrize("there", ["another kind", "no store", "a pipe"])
def test_a_store_replaces_a_store_of_its_kind_alone(tmp_path: Path, there: str) -> None:
    path = tmp_path / "a.h5"
    if there == "a pipe":
        os.mkfifo(path)
    elif there == "no store":
        path.write_bytes(b"a picture")
    else:
        write("features", path)
    before = path.lstat()
    with pytest.raises(UsageError, match="is a pipe" if there == "a pipe" else "is no dataset store"):
        write("dataset", path)
    assert path.lstat() == before


def test_a_damaged_or_an_empty_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"")
    write("dataset", path)
    path.write_bytes(path.read_bytes()[:3000])
    write("dataset", path)
    read_dataset(path)


def test_finished_knows_kind_and_key(tmp_path: Path) -> None:
    path = write("dataset", tmp_path / "a.h5")
    key = read_dataset(path).key()
    assert is_up_to_date(path, "dataset", key)
    assert not is_up_to_date(path, "dataset", "b")
    assert not is_up_to_date(path, "features", key)
    assert not is_up_to_date(tmp_path / "b.h5", "dataset", key)
    path.write_bytes(path.read_bytes()[:5000])
    assert not is_up_to_date(path, "dataset", key)
