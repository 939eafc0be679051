"""Wrong pictures in a run: each is taken as a person sees it or skipped with its reason, and the rest is unharmed."""

from __future__ import annotations

import io
import os
from pathlib import Path

import h5py
import pytest
from PIL import Image

from helpers.commands import Zse
from helpers.stores import have_same_datasets
from helpers.wrong_pictures import HOUSE, KINDS, SVG, lay, saved

TAKEN = [kind for kind in KINDS if not kind.reason]


def features(store: Path) -> dict[str, list[float]]:
    """[Ret] of the pictures that have one, by their names without folders."""
    with h5py.File(store) as file:
        rows = zip(file["items/id"].asstr()[:], file["ret"][:], file["skipped"].asstr()[:], strict=True)
        return {Path(name).name: ret.tolist() for name, ret, skipped in rows if not skipped}


def test_every_kind_in_one_run(zse: Zse, tmp_path: Path) -> None:
    for folder in ("wrong", "looks"):
        (tmp_path / folder).mkdir()
    laid = lay(tmp_path / "wrong")
    paths = b"\0".join(os.fsencode(path) for path in laid.values())
    done = zse("embed", "-", "--modality", "sketch", stdin=paths)
    assert done.code == 4
    lines = dict.fromkeys(done.err.splitlines())
    for kind in KINDS:
        if kind.reason and kind.kind in laid:
            name = kind.name.encode("ascii", "backslashreplace").decode()
            (line,) = [line for line in lines if line.startswith("skipped: ") and f"/{name.lstrip('/')}: " in line]
            assert kind.reason in line, kind.kind
            del lines[line]
    said = "note: 4 sketches drawn bright on dark, so inverted; 2 sketches lit unevenly, so evened out"
    assert list(lines) == [said]

    # as a person sees them, by themselves: the same features
    for number, kind in enumerate(TAKEN):
        (tmp_path / "looks" / f"{number}.png").write_bytes(saved(kind.looks or HOUSE))
    alone = features(tmp_path / zse("embed", "looks", "--modality", "sketch").ok())
    found = features(tmp_path / done.out.strip())
    for number, kind in enumerate(TAKEN):
        if kind.kind in laid:
            assert kind.looks is None or found[kind.name] == alone[f"{number}.png"], kind.kind
            del found[kind.name]
    assert not found


class Terminal(io.StringIO):
    """What a person sees."""

    def isatty(self) -> bool:
        return True


def test_the_whole_list_is_told_but_to_a_terminal(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(saved(HOUSE))
    paths = "\n".join(["good.png", *(f"{number}.png" for number in range(30))]).encode()
    lines = zse("embed", "-", "--modality", "photo", stdin=paths).err.splitlines()
    assert lines == [f"skipped: {number}.png: no such file" for number in range(30)]
    terminal = Terminal()
    zse("embed", "-", "--modality", "photo", "-q", stdin=paths, stderr=terminal)
    assert terminal.getvalue().splitlines() == [*lines[:20], "skipped: and 10 more (2> FILE keeps the whole list)"]


def test_a_pipe_is_not_waited_for(zse: Zse, shell: Zse, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "pipe: a pipe, socket or device" in shell("timeout 60 zse embed pipe", code=1).err
    zse("embed", "/dev/zero", "-o", "x.h5").refused(1, "/dev/zero: a pipe, socket or device")
    zse("explain", "pipe", "pipe").refused(2, "pipe: is a pipe or a device")
    zse("synthesize", "/dev/zero", ".").refused(2, "/dev/zero: is a pipe or a device")


@pytest.mark.parametrize("name", ["a.svg", "a.heic", "a.txt"])
def test_a_folder_without_a_picture_says_what_to_do(zse: Zse, tmp_path: Path, name: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / name).write_bytes(b"\0\0\0\x18ftypheic" if name == "a.heic" else SVG)
    said = {"a.svg": ["p/a.svg: an SVG drawing: export it as PNG"], "a.heic": ["p/a.heic", "save it as JPEG"],
            "a.txt": ["p: no picture in this folder", ".jpg"]}  # fmt: skip
    zse("embed", "p").refused(1, *said[name])


def test_a_folder_without_a_picture_does_not_stop_others(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "a.png").write_bytes(saved(HOUSE))
    done = zse("embed", "none", "a.png", "--modality", "photo")
    assert (done.code, "skipped: none: no picture in this folder" in done.err) == (4, True)


def test_a_name_does_nothing_to_a_terminal(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(HOUSE))
    name = "\x1b[2J\nb.png"
    assert zse("embed", "a.png", name, "--modality", "photo").err == "skipped: \\x1b[2J\\nb.png: no such file\n"
    assert "\\x1b[2J\\nb.png: no such file" in zse("embed", name).refused(1)


def test_a_link_to_itself_is_skipped_beside_an_output(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved(HOUSE))
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert zse("embed", "a.png", "loop.png", "--modality", "photo", "-o", "x.h5").code == 4


# --- blank sketches --------------------------------------------------------------------------------------------------


def test_a_blank_photo_stays_and_blank_sketches_alone_are_an_error(zse: Zse, tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("L", (20, 20), 255).save(tmp_path / f"{name}.png")
    zse("embed", "a.png", "b.png", "--modality", "photo").ok()
    for words in ((), ("--modality", "sketch")):
        zse("embed", "a.png", "b.png", *words).refused(1, "a.png: blank", "b.png: blank")
    assert not list(tmp_path.glob("zse/features/*.sketch*.h5"))


def test_a_blank_sketch_of_a_data_set_is_counted(zse: Zse, tmp_path: Path) -> None:
    """`prepare` flags it, and --drop blank leaves it out: a benchmark that asks it is not that without it."""
    for modality, name in (("sketch", "1-1"), ("photo", "1")):
        (tmp_path / "d" / modality / "cat").mkdir(parents=True)
        HOUSE.save(tmp_path / "d" / modality / "cat" / f"{name}.png")
    Image.new("L", (20, 20), 255).save(tmp_path / "d" / "sketch" / "cat" / "1-2.png")
    for words, count in (((), 3), (("--drop", "blank", "--overwrite"), 2)):
        zse("prepare", "folder", "d", *words).ok()
        assert len(features(tmp_path / zse("embed").ok())) == count


def test_shards_skip_what_a_whole_run_skips(zse: Zse, tmp_path: Path) -> None:
    for number in range(9):
        (HOUSE if number % 3 else Image.new("L", (20, 20))).save(tmp_path / f"{number}.png")
    words = ("embed", *(f"{number}.png" for number in range(9)), "--modality", "sketch", "-o")
    whole = zse(*words, "w.h5")
    zse(*words, "s.h5", "--shard", "2/2")
    parts = zse(*words, "s.h5", "--shard", "1/2")
    assert whole.code == parts.code == 4
    assert whole.err == parts.err
    assert have_same_datasets(tmp_path / "w.h5", tmp_path / "s.h5")


# --- files that go or change while the run goes on -------------------------------------------------------------------


@pytest.mark.parametrize("change", ["gone", "locked", "changed"])
def test_what_goes_while_the_run_goes_on_is_skipped_and_tried_again(
    zse: Zse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    for number in range(9):
        HOUSE.rotate(5 * number, fillcolor=255).save(tmp_path / f"{number}.png")
    words = ("embed", *(f"{number}.png" for number in range(9)), "--modality", "photo", "-o", "x.h5")
    read = Path.read_bytes

    def late(path: Path) -> bytes:
        if path.name != "4.png":
            return read(path)
        if change == "changed":
            return b"x"
        raise PermissionError(13, "Permission denied") if change == "locked" else FileNotFoundError(2, "No such file")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", late)
        done = zse(*words)
    why = {"gone": "No such file, ", "locked": "Permission denied, ", "changed": "changed "}[change]
    assert (done.code, done.err) == (4, f"skipped: 4.png: {why}while the run went on\n")
    found = features(tmp_path / "x.h5")
    whole = features(tmp_path / zse(*words, "--overwrite").ok())
    assert found == {name: ret for name, ret in whole.items() if name != "4.png"}
    assert len(whole) == 9
