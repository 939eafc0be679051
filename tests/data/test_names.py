"""Names that look the same to a reader are one, or are reported: of classes, objects, families, files and folders."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from helpers import trees
from helpers.commands import Zse
from zsecli.data.names import name_key, tidy_name
from zsecli.data.sources import split_files
from zsecli.data.sources.folder import read
from zsecli.data.sources.options import SourceOptions
from zsecli.data.synonyms import class_key, find_shared_classes
from zsecli.errors import ZseError
from zsecli.runtime.textfiles import decode_text
from zsecli.store.dataset import read_dataset
from zsecli.vocabulary import DATA_SOURCES

ZERO = "\u200b"


def tree(root: Path, sketches: dict[str, str], photos: dict[str, str] | None = None) -> Path:
    """A class folder and one picture in it for each: class -> name of the file."""
    for modality, names in (("sketch", sketches), ("photo", sketches if photos is None else photos)):
        for label, name in names.items():
            trees.picture(root / modality / label / name)
    return root


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@pytest.mark.parametrize(
    ("sketch", "photo", "label", "said"),
    [
        (nfd("café"), "café", "café", False),
        (nfd("한국"), "한국", "한국", False),
        ("Cat", "cat", "cat", True),
        ("HOT DOG", "hot  dog", "hot  dog", True),
        ("cat ", "cat", "cat", False),
        ("cat.", "cat", "cat", True),
        (f"cat{ZERO}", "cat", "cat", False),
        ("Straße", "STRASSE", "STRASSE", True),
        ("hot\u00a0dog", "hot dog", "hot dog", True),
    ],
)
def test_two_spellings_of_a_class_are_one(tmp_path: Path, sketch: str, photo: str, label: str, said: bool) -> None:
    listing = read(tree(tmp_path / "t", {sketch: "1.png", "x": "1.png"}, {photo: "1.png", "x": "1.png"}))
    assert {entry.label for entry in listing.entries} == {label, "x"}
    assert {entry.instance for entry in listing.entries} == {"1"}
    assert [w.startswith("classes ") and "are taken as one" in w for w in listing.warnings] == [True] * said


def test_two_whole_classes_stay_two_and_are_reported(tmp_path: Path) -> None:
    listing = read(tree(tmp_path / "t", {"Turkey": "1.png", "turkey": "1.png"}))
    assert {entry.label for entry in listing.entries} == {"Turkey", "turkey"}
    (warning,) = listing.warnings
    assert warning.startswith(
        "classes 'Turkey', 'turkey' differ in capitals, blanks or dots alone; they are kept apart"
    )


def test_classes_without_counterpart(tmp_path: Path, zse: Zse) -> None:
    tree(tmp_path / "t", {"cat": "1.png", "dog": "1.png"}, {"cat": "1.png", "cow": "1.png", "ant": "1.png"})
    done = zse("prepare", "folder", "t")
    assert done.err == "warning: 2 classes have no sketches: ant, cow\nwarning: 1 classes have no photos: dog\n"
    trees.picture(tmp_path / "1.png")
    (tmp_path / "m.csv").write_text("path,modality,class\n1.png,sketch,cat\n")
    assert "warning: 1 classes have no photos: cat\n" in zse("prepare", "folder", "m.csv", "--name", "m").err


def test_ascii_names_keep_the_run_key(tmp_path: Path) -> None:
    names = ["t-shirt", "Dr.", "hot-air_balloon", "car (sedan)", "UPPER", "a  b"]
    listing = read(tree(tmp_path / "t", dict.fromkeys(names, "A__1.png"), dict.fromkeys(names, "A__2.png")))
    assert {(e.label, e.instance) for e in listing.entries} == {(name, "A") for name in names}


def test_the_list_of_unseen_classes(tmp_path: Path, zse: Zse) -> None:
    tree(tmp_path / "t", {nfd("café"): "1.png", "Hot Dog": "1.png", "cat": "1.png"})
    for encoding in ("utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"):
        (tmp_path / "unseen.txt").write_bytes("café \r\nhot dog\r\n".encode(encoding))
        zse("prepare", "folder", "t", "--unseen", "unseen.txt", "--overwrite").ok()
        items = read_dataset(tmp_path / "zse" / "datasets" / "t.h5").items
        unseen = {items.label.names[c] for c in items.label.codes[items.part == 1]}
        assert unseen == {"café", "Hot Dog"}
    (tmp_path / "unseen.txt").write_text("Katze\n")
    zse("prepare", "folder", "t", "--unseen", "unseen.txt", "--overwrite").refused(1, "has no class 'Katze'")
    with pytest.raises(ZseError, match="has no class 'TURKEY'"):  # which of the two?
        read(tree(tmp_path / "u", {"Turkey": "1.png", "turkey": "1.png"}), unseen=["TURKEY"])


def test_a_manifest_with_blanks_capitals_and_forms(tmp_path: Path, zse: Zse) -> None:
    for name in ("a.png", "b.png", f"{nfd('ö')}.png", "d.png"):
        trees.picture(tmp_path / name)
    lines = [
        "path, modality ,class,instance,family,split",
        "a.png, Sketch,cat ,Tom,noto,Unseen ",
        "b.png,photo,cat,tom,Noto,unseen",
        "ö.png,PHOTO,dog,rex,x,unseen",
        f"d.png,sketch,dog,{nfd('rex')} ,x,unseen",
    ]
    (tmp_path / "m.csv").write_bytes("\r\n".join(lines).encode("utf-16"))
    done = zse("prepare", "folder", "m.csv", "--name", "m", "--json")
    items = read_dataset(tmp_path / json.loads(done.out)["path"]).items
    assert (items.label.names, items.instance.names) == (["cat", "dog"], ["cat/tom", "dog/rex"])
    assert nfd("ö.png") in items.id
    assert "1 objects of sketches are those of photos that are spelt otherwise: 'Tom' and 'tom'" in done.err
    assert "families 'Noto', 'noto' differ in spelling alone" in done.err
    (tmp_path / "s.csv").write_text("path;modality;class\na.png;sketch;cat\nb.png;photo;cat\n")
    zse("prepare", "folder", "s.csv", "--name", "s").ok()


INSTANCES = [  # photos, sketches with their objects
    ({"scan__001", "scan__002"}, {"scan__001": "scan__001", "scan__002": "scan__002"}),
    ({"scan__001", "scan__002"}, {"scan__001-1": "scan__001", "scan__001-12": "scan__001", "scan__002-1": "scan__002"}),
    ({"scan__001", "scan__002"}, {"scan__001__anna": "scan__001", "scan__002__bob": "scan__002"}),
    ({"a__x", "a__y"}, {"a__z": "a", "a__w": "a"}),  # as the demo: what precedes `__` is the object
    ({"1F413__emojione"}, {"1F413__emojione-mono": "1F413"}),
    ({"IMG_1", "IMG_2"}, {"img_1-1": "IMG_1", "Img_2": "IMG_2"}),
    ({"café", "x"}, {nfd("café-1"): "café", "x-1": "x"}),
]


@pytest.mark.parametrize(("photos", "sketches"), INSTANCES)
def test_sketches_find_their_photos_by_name(tmp_path: Path, photos: set[str], sketches: dict[str, str]) -> None:
    for modality, names in (("photo", photos), ("sketch", sketches)):
        for name in names:
            trees.picture(tmp_path / modality / "c" / f"{name}.png")
    found = {e.path.split("/")[-1][:-4]: e.instance for e in read(tmp_path).entries if e.modality == "sketch"}
    assert found == sketches


def test_a_name_that_can_be_read_in_two_ways_is_reported(tmp_path: Path) -> None:
    root = tmp_path / "t"
    for modality in ("sketch", "photo"):
        for number in (1, 2):
            trees.picture(root / modality / "c" / f"scan__{number}.png")
    assert "--instance-rule underscores takes that" in read(root).warnings[0]
    assert {e.instance for e in read(root, rule="underscores").entries} == {"scan"}
    for file in (root / "sketch" / "c").iterdir():
        file.rename(file.with_name(file.name.replace("scan", "pen")))
    (warning,) = read(root).warnings
    assert "is the same in all photos of c" in warning and "--instance-rule stem" in warning


def test_class_keys_ignore_case_and_normal_form() -> None:
    assert class_key(nfd("Café")) == class_key("café") != class_key("cafe")
    assert class_key("की") != class_key("का")  # signs on letters are vowels
    assert find_shared_classes(["🐱", "++", nfd("café")], ["🐶", "--", "CAFÉ"]) == {"CAFÉ": nfd("café")}
    assert tidy_name(f" {ZERO} a b ") == "a b" and name_key("...") == "..."


def test_a_data_set_s_name(tmp_path: Path, zse: Zse) -> None:
    tree(tmp_path / nfd("café"), {"cat": "1.png"})
    zse("prepare", "folder", nfd("café")).ok()
    assert zse("embed", "--data", "café").code == 0


# the archives, as they unpack


def counts(name: str, root: Path) -> dict[tuple[str, str | None], int]:
    found: dict[tuple[str, str | None], int] = {}
    for entry in DATA_SOURCES.load(name).read(root, SourceOptions()).entries:
        found[entry.modality, entry.part] = found.get((entry.modality, entry.part), 0) + 1
    return found


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("quickdraw", {"sketches": "QuickDraw_sketches_final", "images": "QuickDraw_images_final"}),
        ("quickdraw", {"sketches": "quickdraw_sketches_final/QuickDraw_sketches_final",
                       "images": "QuickDraw_images_final/QuickDraw_images_final"}),
        ("quickdraw", {"sketches": "QuickDraw/QuickDraw_sketches_final", "images": "QuickDraw/QuickDraw_images_final"}),
        ("tuberlin", {"png": "sketches_png/png", "ImageResized": "ImageResized/ImageResized"}),
        ("tuberlin", {"png": "TUBerlin/png_ready", "ImageResized": "TUBerlin/ImageResized_ready"}),
        ("tuberlin", {"png": "sketch", "ImageResized": "photo"}),
        ("sketchy", {"256x256": "rendered_256x256/256x256"}),
        ("sketchy", {"256x256": "Sketchy/256x256", "EXTEND_image_sketchy": "Sketchy/EXTEND_image_sketchy"}),
        ("sketchy", {"256x256": "Sketchy", "EXTEND_image_sketchy": "Sketchy/extended_photo"}),
        ("sketchy", {"EXTEND_image_sketchy": "EXTEND_image_sketchy/EXTEND_image_sketchy"}),
        ("sketchy", {"EXTEND_image_sketchy": "EXTEND_image_sketchy_ver1"}),
        ("shoe", {"ShoeV2_photo": "ShoeV2_F/ShoeV2_photo", "ShoeV2_sketch": "ShoeV2_F/ShoeV2_sketch_png"}),
    ],
)  # fmt: skip
def test_an_archive_as_it_unpacks(tmp_path: Path, name: str, moves: dict[str, str]) -> None:
    make: Any = {"quickdraw": trees.quickdraw, "tuberlin": trees.tuberlin, "sketchy": trees.sketchy, "shoe": trees.qmul}
    plain = counts(name, make[name](tmp_path / "plain"))
    root = make[name](tmp_path / "root")
    for old, new in moves.items():
        (root / old).rename(root / "moving")
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / "moving").rename(root / new)
    (root / "__MACOSX").mkdir()
    assert counts(name, root) == plain


def test_shoes_and_chairs_in_one_place(tmp_path: Path) -> None:
    trees.qmul(tmp_path / "QMUL" / "ChairV2", "ChairV2")
    trees.repacked(tmp_path / "QMUL" / "ShoeV2")
    trees.picture(tmp_path / "QMUL" / "ShoeV2" / "testB" / "more.png")
    assert counts("chair", tmp_path / "QMUL")["photo", "unseen"] == 2
    assert counts("shoe", tmp_path / "QMUL")["photo", "unseen"] == 3
    for end, part in (("train", "A"), ("train", "B"), ("test", "A"), ("test", "B")):
        old = tmp_path / "QMUL" / "ShoeV2" / f"{end}{part}"
        (tmp_path / "by-parts" / end).mkdir(parents=True, exist_ok=True)
        old.rename(tmp_path / "by-parts" / end / ("sketch" if part == "A" else "photo"))
    assert counts("shoe", tmp_path / "by-parts")["photo", "unseen"] == 3


def test_lists_know_the_folders_by_every_name(tmp_path: Path) -> None:
    root = trees.quickdraw(tmp_path / "q")
    (root / "sketches").rename(root / "QuickDraw_sketches_final")
    (root / "images").rename(root / "QuickDraw_images_final")
    train = ["sketches/airplane/4503626191994880.png", "images/airplane/image_00001.jpg"]
    zero = ["sketches/hot-air_balloon/4503626191994881.png", "images/hot-air_balloon/image_00002.jpg"]
    folder = trees.lists(tmp_path / "l", train, zero)
    for file in folder.iterdir():
        file.write_bytes(file.read_text().encode("utf-16"))
    listing = split_files.apply_lists(DATA_SOURCES.load("quickdraw").read(root, SourceOptions()), folder)
    assert listing.skipped == []
    assert sorted((e.modality, e.part) for e in listing.entries if e.part) == [
        ("photo", "seen"), ("photo", "unseen"), ("sketch", "seen"), ("sketch", "unseen"),
    ]  # fmt: skip


# text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("text", ["p.jpg\n", "写真/猫の写真一覧/画像.jpg\r\n犬.png\r\n", "é", "[embed]\nmodel = 'ö'\n"])
def test_text_in_any_encoding(encoding: str, text: str) -> None:
    if (encoding, text) in {("utf-16-le", "é"), ("utf-16-be", "é")}:
        pytest.skip("two bytes without a mark may be anything")
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    "data", [b"./p.jpg\0./q.jpg\0", b"abc\0def\0", b"./\xe9\xe8.jpg\0a.jpg\0", b"a b\0", b"\xe9\n"]
)
def test_lists_ended_by_zero_bytes_are_no_utf_16(data: bytes) -> None:
    assert decode_text(data, "surrogateescape").encode("utf-8", "surrogateescape") == data


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_and_configurations_from_windows(tmp_path: Path, zse: Zse, encoding: str) -> None:
    for name in ("a.png", "b.png", "Müll.png"):
        trees.picture(tmp_path / name)
    done = zse("embed", "-", "--modality", "photo", stdin="a.png\r\nMüll.png\r\n".encode(encoding))
    store = done.ok()
    (tmp_path / "c.toml").write_bytes('[match]\ntop = 1\nformat = "tsv"\n'.encode(encoding))
    sketches = zse("embed", "b.png", "--modality", "sketch").ok()
    done = zse("match", "-", "-", "--config", "c.toml", stdin=f"{sketches}\r\n{store}\r\n".encode(encoding))
    assert (done.code, len(done.out.splitlines())) == (0, 1), done.err
