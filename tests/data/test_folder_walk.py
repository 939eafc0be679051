"""What a folder, a tree, a benchmark or a list holds: all of it is taken, or passed over and counted by its reason."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest
from PIL import Image

from helpers import trees
from helpers.commands import Zse
from helpers.demo import DEMO
from zsecli.data.folder_walk import (
    BESIDE,
    BROKEN,
    HIDDEN,
    LINKED,
    NO_PICTURE,
    OUTSIDE,
    OWN,
    RAW_PICTURE,
    SPECIAL,
    SYSTEM,
    TEMPORARY,
)


def photo(path: Path, kind: str = "PNG") -> Path:
    """A small picture in colour, unlike every other one, in any format of Pillow."""
    picture = Image.open(trees.picture(path.parent / "drawn.png")).convert("RGB")
    (path.parent / "drawn.png").unlink()
    picture.putpixel((0, 0), (200, 30, 60))
    picture.save(path, kind)
    return path


def embed(zse: Zse, *words: object, code: int = 0, **more: Any) -> tuple[list[str], dict[str, Any], str]:
    """The ids in the feature store, the JSON, and stderr of `zse embed ... -o f.h5`."""
    done = zse("embed", *words, "--modality", "photo", "-o", "f.h5", "--overwrite", "--json", **more)
    assert done.code == code, done.err
    told = json.loads(done.out)
    with h5py.File(told["path"] if os.path.isabs(told["path"]) else FOLDER[0] / told["path"]) as store:
        return list(store["items/id"].asstr()[:]), told, done.err


FOLDER: list[Path] = []


@pytest.fixture(autouse=True)
def where(tmp_path: Path) -> None:
    FOLDER[:] = [tmp_path]


def test_links_to_folders_are_followed_once(tmp_path: Path, zse: Zse) -> None:
    photo(tmp_path / "lib" / "2023" / "1.png")
    photo(tmp_path / "disk2" / "trip" / "2.png")
    (tmp_path / "lib" / "2024").symlink_to("../disk2")
    (tmp_path / "lib" / "2023" / "self").symlink_to(".")
    (tmp_path / "lib" / "up").symlink_to("..")  # the folder that holds all of it
    (tmp_path / "lib" / "a").symlink_to("2023")  # the real folder is the one that counts
    (tmp_path / "lib" / "z").symlink_to("../disk2/trip")
    (tmp_path / "lib" / "gone").symlink_to("nowhere")
    ids, told, err = embed(zse, "lib")
    assert ids == ["lib/2023/1.png", "lib/2024/trip/2.png"]
    assert told["passed_over"] == {LINKED: 4, BROKEN: 1}
    assert err == f"note: passed over: 1 {BROKEN}; 4 {LINKED}\n"
    assert embed(zse, "lib/2024")[0] == ["lib/2024/trip/2.png"]  # a link that is named is a folder as any other


def test_two_links_that_lead_to_each_other(tmp_path: Path, zse: Zse) -> None:
    photo(tmp_path / "a" / "1.png")
    photo(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "b").symlink_to("../b")
    (tmp_path / "b" / "a").symlink_to("../a")
    ids, told, _ = embed(zse, "a")
    assert (ids, told["passed_over"]) == (["a/1.png", "a/b/2.png"], {LINKED: 1})


PICTURES = {
    **{"1.jfif": "JPEG", "2.JPE": "JPEG", "3.ppm": "PPM", "4.jp2": "JPEG2000", "5.TIF": "TIFF", "6.tga": "TGA"},
    **{"without": "PNG", "also.without": "JPEG", "8.dat": "WEBP", "9": "GIF", "10.pcx": "PCX", "11.ico": "ICO"},
    **{"12.scan": "BMP", "13.raw": "TIFF", "14.x": "JPEG2000"},
}


def test_a_picture_is_known_by_its_suffix_or_its_content(tmp_path: Path, zse: Zse) -> None:
    for name, kind in PICTURES.items():
        photo(tmp_path / "p" / name, kind)
    for name, text in {"notes.txt": "P1 is the first of us", "BMW": "BM", "a.pdf": "%PDF-1.7", "none": ""}.items():
        (tmp_path / "p" / name).write_text(text)
    (tmp_path / "p" / "random.bin").write_bytes(bytes(range(256)) * 40)
    ids, told, err = embed(zse, "p")
    assert ids == sorted(f"p/{name}" for name in PICTURES)
    assert told["passed_over"] == {NO_PICTURE: 5}
    assert f"5 {NO_PICTURE}" in err


def test_a_damaged_picture_without_a_suffix_is_listed(tmp_path: Path, zse: Zse) -> None:
    photo(tmp_path / "p" / "1.png")
    (tmp_path / "p" / "cut").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    _, told, _ = embed(zse, "p", code=4)
    assert [path for path, _ in told["skipped"]] == ["p/cut"]


def test_files_of_systems_and_cameras(tmp_path: Path, zse: Zse) -> None:
    folder = tmp_path / "p"
    photo(folder / "1.jpg", "JPEG")
    for name in ("._1.jpg", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    for name in ("__MACOSX/1.jpg", "@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", ".thumbnails/1.jpg"):
        photo(folder / name, "JPEG")
    photo(folder / ".hidden.jpg", "JPEG")
    photo(folder / "2.jpg.crdownload", "JPEG")
    photo(folder / "1.jpg~", "JPEG")
    photo(folder / "1.dng", "TIFF")  # beside the JPEG that was made of it
    photo(folder / "3.NEF", "TIFF")
    os.mkfifo(folder / "pipe")
    ids, told, err = embed(zse, "p", code=4)
    assert ids == ["p/1.jpg"]
    assert told["passed_over"] == {SYSTEM: 6, HIDDEN: 2, TEMPORARY: 2, BESIDE: 1, SPECIAL: 1}
    assert told["skipped"] == [["p/3.NEF", RAW_PICTURE]]
    assert "skipped: p/3.NEF: " in err


def test_a_folder_that_cannot_be_read(tmp_path: Path, zse: Zse) -> None:
    """One with a path that is too long for the system cannot, whoever asks."""
    photo(tmp_path / "p" / "1.png")
    here = os.open(tmp_path / "p", os.O_RDONLY)
    try:
        for _ in range(20):
            os.mkdir("x" * 250, dir_fd=here)
            inner = os.open("x" * 250, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
    finally:
        os.close(here)
    ids, told, _ = embed(zse, "p", code=4)
    assert ids == ["p/1.png"]
    ((path, why),) = told["skipped"]
    assert path.endswith("x" * 250) and why.startswith("a folder that cannot be read")


@pytest.fixture
def made(tmp_path: Path, zse: Zse, sketch: Path) -> Path:
    """A folder with two photos, and in it what zse drew of them, in its workspace and elsewhere."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("1F413__noto", "1F413__twemoji"):
        shutil.copy(DEMO / "photo" / "animal-bird" / f"{name}.webp", folder)
    one = folder / "1F413__noto.webp"
    zse("explain", sketch, one, "--model", "small", "-o", folder / "why").ok()
    zse("synthesize", sketch, one, "--model", "small", "-o", folder / "made.png", "--sheet", folder / "s.png").ok()
    (folder / "why.svg").rename(folder / "other.svg")  # no PNG of that name lies beside it
    return folder


def test_what_zse_drew_is_no_photo(tmp_path: Path, zse: Zse, made: Path) -> None:
    ids, told, err = embed(zse, "pictures")
    assert ids == ["pictures/1F413__noto.webp", "pictures/1F413__twemoji.webp"]
    assert told["passed_over"] == {OWN: 5, NO_PICTURE: 3}  # two pages of JSON and one of HTML
    assert f"5 {OWN}" in err
    listed = "\n".join(f"pictures/{name}" for name in ("1F413__noto.webp", "made.png", "s.png")).encode()
    ids, told, _ = embed(zse, "-", stdin=listed)
    assert (ids, told["passed_over"]) == (["pictures/1F413__noto.webp"], {OWN: 2})
    # somebody who names one wants it
    assert embed(zse, "pictures/made.png")[0] == ["pictures/made.png"]
    for modality in ("sketch", "photo"):
        shutil.copytree(made, tmp_path / "tree" / modality / "bird")
    done = zse("prepare", "folder", "tree", "--json")
    assert (done.code, json.loads(done.out)["passed_over"]) == (0, {OWN: 10, NO_PICTURE: 6})
    assert json.loads(done.out)["report"]["passed_over"] == json.loads(done.out)["passed_over"]


def test_the_workspace_is_no_album(tmp_path: Path, zse: Zse, pictures: Path, sketch: Path) -> None:
    """Nor are its pictures without a mark, from an earlier version."""
    photo(tmp_path / "album" / "1.png")
    photo(tmp_path / "album" / "zse" / "holiday" / "2.png")
    photo(tmp_path / "album" / "zse" / "syntheses" / "old.png")
    words = ("embed", "album", "--modality", "photo", "-o", "f.h5", "--workspace", "album/zse", "--json")
    assert json.loads(zse(*words).out)["passed_over"] == {OWN: 1}
    with h5py.File(tmp_path / "f.h5") as store:
        assert list(store["items/id"].asstr()[:]) == ["album/1.png", "album/zse/holiday/2.png"]


def test_a_list_passes_over_files_of_the_system(tmp_path: Path, zse: Zse) -> None:
    photo(tmp_path / "1.png")
    (tmp_path / "._1.png").write_bytes(b"\0\5\x16\7")
    ids, told, err = embed(zse, "-", stdin=b"1.png\n./._1.png\n__MACOSX/1.png\n")
    assert (ids, told["passed_over"]) == (["1.png"], {SYSTEM: 2})
    assert f"2 {SYSTEM}" in err


def test_files_beside_sketch_and_photo(tmp_path: Path, zse: Zse, pictures: Path) -> None:
    shutil.copytree(pictures, tmp_path / "t")
    photo(tmp_path / "t" / "more" / "1.png")
    photo(tmp_path / "t" / "2.png")
    done = zse("prepare", "folder", "t", "--json")
    assert json.loads(done.out)["passed_over"] == {OUTSIDE: 2}
    assert f"2 {OUTSIDE}" in done.err


def test_benchmarks_follow_links_and_count(tmp_path: Path, zse: Zse) -> None:
    root = trees.tuberlin(tmp_path / "t")
    trees.picture(tmp_path / "disk" / "4.png")
    (root / "png" / "giraffe" / "more").symlink_to(tmp_path / "disk")
    (root / "png" / "giraffe" / "5.scan").write_bytes(trees.picture(tmp_path / "x.png").read_bytes())
    (root / "png" / "giraffe" / "Thumbs.db").write_text("")
    (root / "png" / "t-shirt" / "loop").symlink_to("..")
    done = zse("prepare", "tuberlin", "t", "--json")
    told = json.loads(done.out)
    assert (done.code, told["passed_over"]) == (0, {LINKED: 1, SYSTEM: 1})
    with h5py.File(tmp_path / told["path"]) as store:
        ids = store["items/id"].asstr()[:]
    assert {"png/giraffe/more/4.png", "png/giraffe/5.scan"} <= {*ids}
