"""No command replaces what it reads, nor anything that is no file, though it is told to overwrite."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Zse, files
from tiny import STILL, build

from zsecli.model import checkpoint

DATASET, FEATURES = "zse/datasets/tree.h5", "zse/features/tree.unseen.pixels.h5"
RANKING = "zse/rankings/tree.unseen.pixels.ret.h5"


@pytest.fixture
def place(zse: Zse, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of pictures, prepared, embedded and ranked in its workspace; all kinds of files that commands read."""
    monkeypatch.setitem(__import__("zsecli.model.config").model.config.PRESETS, "tiny", STILL)
    shutil.copytree(pictures, tmp_path / "tree")
    for modality in ("sketch", "photo"):
        file = sorted((tmp_path / "tree" / modality / "drink").iterdir())[0]
        shutil.copy(file, tmp_path / f"{modality}.png")
        file.rename(file.with_name("x__x.png"))
    (tmp_path / "un.txt").write_text("lock\n")
    (tmp_path / "c.toml").write_text("[match]\n")
    (tmp_path / "manifest.csv").write_text("path,modality,class\nsketch.png,sketch,drink\nphoto.png,photo,drink\n")
    (tmp_path / "marks.csv").write_text("photo,sketch,XA,YA,XB,YB\nphoto.png,sketch.png,1;2;3,1;2;3,1;2;3,1;2;3\n")
    checkpoint.save(build(STILL), tmp_path / "m.safetensors")
    (tmp_path / "n.run").mkdir()
    shutil.copy(tmp_path / "m.safetensors", tmp_path / "n.run" / "last.safetensors")
    shutil.copy(tmp_path / "m.safetensors", tmp_path / "net.png")
    zse("prepare", "folder", "tree", "--unseen", "un.txt", "--name", "seen").ok()
    zse("prepare", "folder", "tree").ok()
    zse("match").ok()
    for name, lead in (("soft.h5", os.symlink), ("hard.h5", os.link)):
        lead(tmp_path / FEATURES, tmp_path / name)
    os.link(tmp_path / "m.safetensors", tmp_path / "hard.safetensors")
    return tmp_path


TRAIN = "train seen --preset tiny --epochs 1 --epoch-draws 16 --batch-size 8 --freeze-blocks 0"
LINES = [
    "prepare folder tree -o tree/photo/drink/x__x.png",
    "prepare folder tree --unseen un.txt -o un.txt",
    "prepare folder tree --config c.toml -o c.toml",
    "prepare folder manifest.csv -o manifest.csv",
    f"prepare folder tree -o {FEATURES}",
    f"embed {DATASET} -o {DATASET}",
    f"embed --data tree -o {DATASET}",
    "embed --data tree -o tree/photo/drink/x__x.png",
    "embed tree --model m.safetensors -o m.safetensors",
    "embed tree --model m.safetensors -o hard.safetensors",
    "embed sketch.png -o ./sketch.png",
    f"match {FEATURES} -o {FEATURES}",
    f"match {FEATURES} -o soft.h5",
    f"match {FEATURES} -o hard.h5",
    f"match --data tree -o {FEATURES} --depth 3",
    f"match --data tree -o {DATASET} --depth 3",
    f"{TRAIN} --backbone-from m.safetensors -o m.safetensors",
    f"{TRAIN} --backbone-from m.safetensors -o hard.safetensors",
    f"{TRAIN} --backbone-weights m.safetensors -o m.safetensors",
    f"{TRAIN} --backbone-from n.run/last.safetensors -o n.safetensors",
    f"evaluate {RANKING} --sheet tree/sketch/drink/x__x.png",
    f"evaluate {RANKING} --sheet tree/photo/drink/x__x.png",
    f"evaluate {RANKING} --explanations --keypoints marks.csv -o marks.csv",
    "explain sketch.png photo.png --model net.png -o net",
    f"explain --ranking {RANKING} --query x__x.png --model small -o tree/photo/drink/x__x.png",
    "synthesize sketch.png photo.png --model net.png --sheet net.png",
    f"synthesize --ranking {RANKING} --query x__x.png --model small --sheet tree/photo/drink/x__x.png",
]


@pytest.mark.parametrize("line", LINES)
def test_an_input_is_never_replaced(zse: Zse, place: Path, line: str) -> None:
    before = files(place)
    zse(*line.split(), "--overwrite").refused(2, Path(line.split(" -o ")[-1].split(" --sheet ")[-1].split()[0]).stem)
    assert files(place) == before


@pytest.mark.parametrize("line", ["embed - --modality photo -o photo.png", f"match - -o {FEATURES}"])
def test_nor_is_one_that_stdin_names(zse: Zse, place: Path, line: str) -> None:
    before = files(place)
    given = b"photo.png\n" if line.startswith("embed") else FEATURES.encode()
    zse(*line.split(), "--overwrite", stdin=given).refused(2, "is no")
    assert files(place) == before


def _socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


@pytest.mark.parametrize("make", [os.mkfifo, _socket])
@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("prepare folder tree -o node", "node"),
        ("embed --data tree -o node", "node"),
        ("match --data tree --depth 3 -o node", "node"),
        (f"{TRAIN} --scratch -o node.safetensors", "node.safetensors"),
        (f"evaluate {RANKING} -o node.json", "node.json"),
        (f"evaluate {RANKING} --sheet node.png", "node.png"),
        (f"evaluate {RANKING} --trec .", "zs-inter.run"),
        ("explain sketch.png photo.png --model small -o node", "node.svg"),
        ("synthesize sketch.png photo.png --model small -o node.png", "node.map.png"),
    ],
)
def test_what_is_no_file_stays(zse: Zse, place: Path, line: str, name: str, make: Callable[[Path], None]) -> None:
    make(place / name)
    (place / "link").symlink_to(name)
    for words in (line, line.replace(f"-o {name}", "-o link") if name == "node" else line):
        zse(*words.split(), "--overwrite").refused(2, "is a pipe, a socket or a device")
    assert not (place / name).is_file() and (place / name).exists()
    assert (place / "link").is_symlink()
