"""No command replaces what it reads, nor anything that is no file, though it is told to overwrite."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.commands import Zse, call
from helpers.files import files
from helpers.tiny import STILL, build
from zsecli.model import checkpoint
from zsecli.model.config import PRESETS

DATASET, FEATURES = "zse/datasets/tree.h5", "zse/features/tree.unseen.pixels.h5"
RANKING = "zse/rankings/tree.unseen.pixels.ret.h5"


@pytest.fixture(autouse=True)
def preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is trained in a moment."""
    monkeypatch.setitem(PRESETS, "tiny", STILL)


def furnish(folder: Path, pictures: Path) -> Path:
    """A tree of pictures, prepared, embedded and ranked in its workspace; all kinds of files that commands read."""
    shutil.copytree(pictures, folder / "tree")
    for modality in ("sketch", "photo"):
        file = sorted((folder / "tree" / modality / "drink").iterdir())[0]
        shutil.copy(file, folder / f"{modality}.png")
        file.rename(file.with_name("x__x.png"))
    (folder / "un.txt").write_text("lock\n")
    (folder / "c.toml").write_text("[match]\n")
    (folder / "manifest.csv").write_text("path,modality,class\nsketch.png,sketch,drink\nphoto.png,photo,drink\n")
    (folder / "marks.csv").write_text("photo,sketch,XA,YA,XB,YB\nphoto.png,sketch.png,1;2;3,1;2;3,1;2;3,1;2;3\n")
    checkpoint.save(build(STILL), folder / "m.safetensors")
    (folder / "n.run").mkdir()
    shutil.copy(folder / "m.safetensors", folder / "n.run" / "last.safetensors")
    shutil.copy(folder / "m.safetensors", folder / "net.png")
    call(folder, "prepare", "folder", "tree", "--unseen", "un.txt", "--name", "seen").ok()
    call(folder, "prepare", "folder", "tree").ok()
    call(folder, "match").ok()
    for name, lead in (("soft.h5", os.symlink), ("hard.h5", os.link)):
        lead(folder / FEATURES, folder / name)
    os.link(folder / "m.safetensors", folder / "hard.safetensors")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A furnished folder. Not to be changed."""
    return furnish(tmp_path_factory.mktemp("place"), pictures)


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
def test_an_input_is_never_replaced(place: Path, line: str) -> None:
    before = files(place)
    done = call(place, *line.split(), "--overwrite")
    done.refused(2, Path(line.split(" -o ")[-1].split(" --sheet ")[-1].split()[0]).stem)
    assert files(place) == before


@pytest.mark.parametrize("line", ["embed - --modality photo -o photo.png", f"match - -o {FEATURES}"])
def test_nor_is_one_that_stdin_names(place: Path, line: str) -> None:
    before = files(place)
    given = b"photo.png\n" if line.startswith("embed") else FEATURES.encode()
    call(place, *line.split(), "--overwrite", stdin=given).refused(2, "is no")
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
def test_folders_pipes_and_devices_are_not_replaced(
    zse: Zse, tmp_path: Path, pictures: Path, line: str, name: str, make: Callable[[Path], None]
) -> None:
    furnish(tmp_path, pictures)
    make(tmp_path / name)
    (tmp_path / "link").symlink_to(name)
    for words in (line, line.replace(f"-o {name}", "-o link") if name == "node" else line):
        zse(*words.split(), "--overwrite").refused(2, "is a pipe, a socket or a device")
    assert not (tmp_path / name).is_file() and (tmp_path / name).exists()
    assert (tmp_path / "link").is_symlink()
