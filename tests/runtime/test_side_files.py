"""Side files: a file that zse did not make is never emptied, overwritten or removed, whatever its name."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import pytest
from PIL import Image

from helpers.commands import Zse
from helpers.files import files
from zsecli.runtime.files import atomic_write
from zsecli.runtime.marks import png_text
from zsecli.store.dataset import read_dataset

NOTES = b"notes of mine\n"
TEXTS = {
    "text": NOTES,
    "a text that begins as the journal of earlier versions": b'"/pictures"\n',
    "HDF5": b"",  # made below
    "PNG": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
}
PREPARE, EMBED = "prepare folder {pictures} -o x.h5", "embed {pictures} --modality photo -o x.h5"
OUTPUTS = [  # a command, what it makes, and the side files beside that
    (PREPARE, "x.h5", ("x.h5.hashes", "x.h5.partial", ".x.h5.lock")),
    (EMBED, "x.h5", ("x.h5.partial", ".x.h5.lock")),
    (f"{EMBED} --shard 1/2", "x.1-of-2.h5", ("x.1-of-2.h5.partial", ".x.1-of-2.h5.lock", ".x.h5.join.lock")),
    ("match -o x.h5 --by ret", "x.h5", ("x.h5.partial", ".x.h5.lock")),
    ("evaluate -o x.json", "x.json", ("x.json.partial",)),
    ("evaluate -o x.csv", "x.csv", ("x.csv.partial",)),
    ("evaluate --trec .", "zs-inter.run", ("zs-inter.run.partial", "zs-inter.qrels.partial")),
    ("evaluate --sheet x.png", "x.png", ("x.png.partial",)),
    ("explain {sketch} {sketch} --model small -o x", "x.html",
     ("x.html.partial", "x.png.partial", "x.svg.partial", "x.json.partial")),
    ("synthesize {sketch} {sketch} --model small -o x.png", "x.map.png",
     ("x.png.partial", "x.map.png.partial", "x.json.partial")),
]  # fmt: skip


def write(file: Path, what: str) -> None:
    if what == "HDF5":
        with h5py.File(file, "w") as store:
            store["mine"] = [1, 2, 3]
    else:
        file.write_bytes(TEXTS[what])


@pytest.mark.parametrize("what", ["text", "HDF5"])
@pytest.mark.parametrize(("line", "made", "names"), OUTPUTS, ids=[line.partition(" {")[0] for line, _, _ in OUTPUTS])
def test_a_file_with_the_name_of_a_side_file_stays(
    zse: Zse, ready: Path, sketch: Path, pictures: Path, line: str, made: str, names: tuple[str, ...], what: str
) -> None:
    folder = ready.parent
    for name in names:
        write(folder / name, what)
    before = {file: content for file, content in files(folder).items() if file.name in names}
    done = zse(*line.format(pictures=pictures, sketch=sketch).split())
    assert (done.code, (folder / made).is_file()) == (0, True), done.err
    assert {file: content for file, content in files(folder).items() if file.name in names} == before
    assert not [f for f in folder.iterdir() if f.suffix in (".partial", ".lock", ".hashes") and f.name not in names]


@pytest.mark.parametrize("name", ["x.h5.hashes", "x.h5.partial", ".x.h5.lock"])
@pytest.mark.parametrize("what", [*TEXTS, "empty", "own"])
def test_a_hard_link_keeps_its_content(zse: Zse, tmp_path: Path, pictures: Path, name: str, what: str) -> None:
    precious = tmp_path / "precious"
    if what == "empty":
        precious.write_bytes(b"")
    elif what == "own":  # a copy that somebody keeps of what zse once made
        zse("prepare", "folder", pictures, "-o", "old.h5").ok()
        precious.write_bytes((tmp_path / "old.h5").read_bytes())
    else:
        write(precious, what)
    before = precious.read_bytes()
    os.link(precious, tmp_path / name)
    assert zse("prepare", "folder", pictures, "-o", "x.h5").code == 0
    assert (precious.read_bytes(), (tmp_path / name).read_bytes()) == (before, before)
    assert len(read_dataset(tmp_path / "x.h5").items) == 42


@pytest.mark.parametrize("name", ["x.h5.hashes", "x.h5.partial", ".x.h5.lock"])
def test_a_folder_or_a_pipe_in_the_place_of_a_side_file(zse: Zse, tmp_path: Path, pictures: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert zse("prepare", "folder", pictures, "-o", "x.h5").code == 0
    assert (tmp_path / name).is_fifo()
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert zse("prepare", "folder", pictures, "-o", "x.h5", "--instance-rule", "stem", "--overwrite").code == 0
    assert (tmp_path / name).is_dir()


@pytest.mark.parametrize("name", ["a.png.partial", "a.svg.partial"])
def test_what_a_killed_run_left_is_known_by_its_mark(tmp_path: Path, name: str) -> None:
    left = tmp_path / name
    if name.startswith("a.png"):
        Image.new("RGB", (8, 8)).save(left, "PNG", pnginfo=png_text())
        left.write_bytes(left.read_bytes()[:-20])
    else:
        left.write_text('<svg xmlns="http://www.w3.org/2000/svg">\n<!-- Software: zse -->\n<rect')
    with atomic_write(left.with_suffix("")) as (partial,):
        assert (partial, partial.stat().st_size) == (left, 0)
    assert list(tmp_path.iterdir()) == [left.with_suffix("")]


TRAIN = "train pictures --preset small --scratch --epochs 1 --epoch-draws 2 --batch-size 2 -o net.safetensors"


@pytest.mark.parametrize("name", ["curve.svg", "log.jsonl", "last.safetensors", "state.safetensors"])
@pytest.mark.parametrize("more", ["", "--overwrite"])
def test_a_file_in_the_folder_of_a_run_stays(zse: Zse, tmp_path: Path, pictures: Path, name: str, more: str) -> None:
    (tmp_path / "unseen.txt").write_text("lock\n")
    zse("prepare", "folder", pictures, "--unseen", "unseen.txt").ok()
    (tmp_path / "net.run").mkdir()
    (tmp_path / "net.run" / name).write_bytes(NOTES)
    done = zse(*TRAIN.split(), *more.split())
    done.refused(2, f"net.run/{name}: zse did not make it")
    assert (tmp_path / "net.run" / name).read_bytes() == NOTES
