"""`prepare`: what is in a tree or a manifest, what is left out and said to be, and what is read again."""

from __future__ import annotations

import csv
import hashlib
import os
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zsecli.data import hashing
from zsecli.data.folder_walk import HIDDEN, LINKED, NO_PICTURE, SYSTEM
from zsecli.data.hashing import Known, hash_files
from zsecli.data.picture_list import find_pictures, make_items
from zsecli.data.sources.demo import demo_folder
from zsecli.data.sources.folder import check_rule, instance_of, read
from zsecli.data.sources.manifest import read_manifest
from zsecli.errors import UsageError, ZseError
from zsecli.runtime.files import partial_path
from zsecli.stages.prepare_listing import PreparedDataset, prepare_listing
from zsecli.store.dataset import read_dataset

NAMES = ["sketch/cat/1-1.png", "sketch/t-shirt/red-2.png", "photo/cat/1.jpg", "photo/t-shirt/red.png"]


def picture(path: Path, colour: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (2, 2), colour).save(path, "PNG")
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, a sketch and a photo of each, all four files different."""
    root = tmp_path / "pictures"
    for colour, name in enumerate(NAMES):
        picture(root / name, colour)
    return root


def prepare(source: Path, overwrite: bool = True, **options: Any) -> PreparedDataset:
    return prepare_listing(read(source, **options), source.parent / "out.h5", "pictures", overwrite=overwrite)


def instances(result: PreparedDataset) -> dict[str, str | None]:
    items = result.dataset.items
    names = [*items.instance.names, None]
    return {name: names[code] for name, code in zip(items.id, items.instance.codes, strict=True)}


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr(hashing, "read_opened", fail)


# --- instances -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "stem", "photos", "instance"),
    [
        ("auto", "1F413__noto", None, "1F413"),
        ("auto", "1F413__noto-font-12", set(), "1F413"),
        ("auto", "n02691156_10151-12", {"n02691156_10151"}, "n02691156_10151"),
        ("auto", "n02691156_10151-12", set(), "n02691156_10151"),
        ("auto", "n02691156_10151", {"n02691156_10151"}, "n02691156_10151"),
        ("auto", "a-b", {"a-b", "a"}, "a-b"),  # a photo's whole name goes first
        ("auto", "shoe-by-anna", {"shoe-by"}, "shoe-by"),
        ("auto", "t-shirt", {"jeans"}, "t-shirt"),  # a dash in a word is no number of a drawing
        ("auto", "hot-air_balloon", set(), "hot-air_balloon"),
        ("auto", "hot-air_balloon-3", set(), "hot-air_balloon"),
        ("auto", "-3", set(), "-3"),
        ("auto", "7", set(), "7"),
        ("auto", "photo-12", None, "photo-12"),  # of a photo: its whole name
        ("underscores", "a__b__c", None, "a"),
        ("underscores", "a_b-1", None, "a_b-1"),
        ("dash", "a-b-1", None, "a-b"),
        ("dash", "t-shirt", None, "t"),
        ("dash", "a", None, "a"),
        ("stem", "a__b-1", None, "a__b-1"),
        ("none", "a__b-1", None, None),
        (r"^(\d+)", "12_front", None, "12"),
        (r"^(\d+)", "front", None, None),
    ],
)
def test_instance_of_a_name(rule: str, stem: str, photos: set[str | None] | None, instance: str | None) -> None:
    assert instance_of(stem, check_rule(rule), photos) == instance


@pytest.mark.parametrize(("rule", "text"), [("dahs", "did you mean 'dash'"), (r"\d+", "is unknown"), ("(", "missing")])
def test_invalid_instance_rules_are_refused(rule: str, text: str, tree: Path) -> None:
    with pytest.raises(UsageError) as error:
        prepare(tree, rule=rule)
    assert text in error.value.message + error.value.hint


def test_an_instance_belongs_to_its_class(tree: Path) -> None:
    picture(tree / "photo" / "t-shirt" / "1.png", 9)
    result = prepare(tree)
    assert instances(result) == {
        "sketch/cat/1-1.png": "cat/1",
        "sketch/t-shirt/red-2.png": "t-shirt/red",
        "photo/cat/1.jpg": "cat/1",
        "photo/t-shirt/1.png": "t-shirt/1",
        "photo/t-shirt/red.png": "t-shirt/red",
    }
    assert result.dataset.report["sketched_instances_without_photo"] == 0
    assert set(instances(prepare(tree, rule="none")).values()) == {None}
    assert prepare(tree, rule="stem").dataset.report["sketched_instances_without_photo"] == 2


# --- trees -----------------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_a_tree_of_class_folders(tree: Path) -> None:
    result = prepare(tree)
    dataset = read_dataset(result.path)
    items = dataset.items
    assert (result.fresh, result.skipped, dataset.root) == (True, [], tree)
    assert items.id == NAMES
    assert (items.modality.tolist(), items.part.tolist()) == ([0, 0, 1, 1], [1, 1, 1, 1])
    assert (items.label.names, items.label.codes.tolist()) == (["cat", "t-shirt"], [0, 1, 0, 1])
    for name, digest, size in zip(items.id, items.sha256, dataset.size, strict=True):
        data = (tree / name).read_bytes()
        assert (digest.tobytes(), size) == (hashlib.sha256(data).digest(), len(data))


def test_unseen_classes(tree: Path) -> None:
    assert prepare(tree, unseen=["t-shirt"]).dataset.items.part.tolist() == [0, 1, 0, 1]
    assert prepare(tree, unseen=[]).dataset.items.part.tolist() == [0, 0, 0, 0]
    with pytest.raises(ZseError, match="no class 'tshirt'; did you mean 't-shirt'"):
        prepare(tree, unseen=["tshirt"])


@pytest.mark.parametrize("made", [[], ["sketch/a"], ["photos/a", "sketch/a"]])
def test_a_tree_of_another_shape(tmp_path: Path, made: list[str]) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ZseError, match="needs the folders sketch/CLASS/ and photo/CLASS/"):
        prepare(tmp_path)
    with pytest.raises(ZseError, match="no such folder"):
        prepare(tmp_path / "absent")


def test_a_tree_without_a_picture_leaves_nothing(tmp_path: Path) -> None:
    for name in ("sketch/a", "photo/a"):
        (tmp_path / "t" / name).mkdir(parents=True)
    with pytest.raises(ZseError, match="there is no file"):
        prepare(tmp_path / "t")
    (tmp_path / "t/photo/a/1.png").write_bytes(b"")
    with pytest.raises(ZseError, match=r"the first: photo/a/1\.png: empty"):
        prepare(tmp_path / "t")
    assert not list(tmp_path.glob("out*"))


def huge() -> bytes:
    """A PNG that says it has 400 million pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0))
        + chunk(b"IEND", b"")
    )


def test_unusable_pictures_are_listed_with_a_reason(tree: Path) -> None:
    cat = tree / "photo" / "cat"
    (cat / "empty.png").write_bytes(b"")
    (cat / "text.jpg").write_text("no picture")
    (cat / "huge.png").write_bytes(huge())
    (cat / "loop.png").symlink_to("loop.png")
    (cat / "gone.png").symlink_to("nowhere.png")
    (cat / os.fsdecode(b"caf\xe9.png")).write_bytes((cat / "1.jpg").read_bytes())
    os.mkfifo(cat / "pipe.png")
    picture(cat / "deeper" / "1.png")
    picture(tree / "photo" / "1.png")
    (tree / "photo" / "notes.txt").write_text("")
    # neither a picture by its name, nor reported as a broken one
    (cat / "Thumbs.db").write_text("")
    (cat / "folder.png").mkdir()
    (cat / ".hidden.png").write_text("")
    (cat / "loop").symlink_to(tree, target_is_directory=True)
    picture(tree / "sketch" / ".cache" / "1.png")
    result = prepare(tree)
    reasons = {
        "photo/1.png": "does not lie in sketch/CLASS/ or photo/CLASS/",
        "photo/cat/caf\udce9.png": "its name is not UTF-8",
        "photo/cat/deeper/1.png": "does not lie in sketch/CLASS/ or photo/CLASS/",
        "photo/cat/empty.png": "empty",
        "photo/cat/gone.png": "no such file",
        "photo/cat/huge.png": "more than 178 megapixels, too many for a real picture",
        "photo/cat/loop.png": "Too many levels of symbolic links",
        "photo/cat/pipe.png": "a pipe, socket or device, not a file",
        "photo/cat/text.jpg": "not a picture",
    }
    assert dict(result.skipped) == reasons
    dataset = read_dataset(result.path)
    assert dataset.report["not_pictures"] == 2
    assert dataset.report["passed_over"] == {HIDDEN: 2, LINKED: 1, NO_PICTURE: 1, SYSTEM: 1}
    assert dataset.report["skipped"] == [list(pair) for pair in result.skipped]
    assert dataset.items.id == NAMES


def test_a_file_that_may_not_be_read(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = Path.open

    def refuse(path: Path, *how: Any, **more: Any) -> Any:
        if path.suffix == ".png":
            raise PermissionError(13, "Permission denied", str(path))
        return given(path, *how, **more)

    prepare(tree)
    picture(tree / "photo" / "t-shirt" / "new.png")
    monkeypatch.setattr(Path, "open", refuse)
    assert prepare(tree).skipped == [("photo/t-shirt/new.png", "Permission denied")]


def test_repeated_files_are_counted_within_a_modality(tree: Path) -> None:
    picture(tree / "photo" / "cat" / "copy.png", 2)
    picture(tree / "photo" / "t-shirt" / "copy.png", 2)
    assert prepare(tree).dataset.report["repeated_files"] == 2
    picture(tree / "sketch" / "cat" / "traced.png", 2)
    assert prepare(tree).dataset.report["repeated_files"] == 2


# --- manifests -------------------------------------------------------------------------------------------------------

HEAD = "path,modality,class,instance,family,split"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for colour, name in enumerate(("a.png", "b.png", "c,c.png")):
        picture(tmp_path / "m" / name, colour)
    return tmp_path / "m"


def manifest(folder: Path, *lines: str, head: str = HEAD, encoding: str = "utf-8", end: str = "\n") -> Path:
    path = folder / "list.csv"
    path.write_bytes((end.join([head, *lines]) + end).encode(encoding))
    return path


@pytest.mark.fast
@pytest.mark.parametrize(
    ("encoding", "end"),
    [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-8-sig", "\n"), ("utf-16", "\r\n"), ("utf-16-be", "\n")],
)
def test_rows_and_columns_of_a_manifest(folder: Path, encoding: str, end: str) -> None:
    lines = ["a.png,sketch,Käse,x,f,seen", "", '"c,c.png",photo,Käse,x,f,unseen', "./b.png,photo,cat,,,"]
    items = prepare(manifest(folder, *lines, encoding=encoding, end=end)).dataset.items
    assert items.id == ["a.png", "b.png", "c,c.png"]
    assert (items.modality.tolist(), items.part.tolist()) == ([0, 1, 1], [0, -1, 1])
    assert (items.label.names, items.label.codes.tolist()) == (["Käse", "cat"], [0, 1, 0])
    assert (items.instance.names, items.instance.codes.tolist()) == (["Käse/x"], [0, -1, 0])
    assert (items.family.names, items.family.codes.tolist()) == (["f"], [0, -1, 0])


def test_a_manifest_of_three_columns_is_all_unseen(folder: Path) -> None:
    items = prepare(manifest(folder, "a.png,sketch,cat", "b.png,photo,", head="path,modality,class")).dataset.items
    assert (items.part.tolist(), items.label.names, items.label.codes.tolist()) == ([1, 1], ["cat"], [0, -1])


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["a.png,sketch,cat,,,", "a.png,sketch,cat,,,"], r"line 3: a\.png stands in line 2 already"),
        (["a.png,sketch,cat,,,", "./a.png,sketch,cat,,,"], r"line 3: a\.png stands in line 2 already"),
        (["/etc/a.png,sketch,cat,,,"], "line 2: invalid path '/etc/a.png'"),
        (["../a.png,sketch,cat,,,"], r"line 2: invalid path '\.\./a\.png'"),
        (["b/../../a.png,sketch,cat,,,"], "line 2: invalid path"),
        ([",sketch,cat,,,"], "line 2: invalid path ''"),
        (["a.png,drawing,cat,,,"], "line 2: modality 'drawing'"),
        (["a.png,,cat,,,"], "line 2: modality ''"),
        (["a.png,sketch,cat,,,", "b.png,photo"], "line 3: has fewer cells than the 6 columns"),
        (["a.png,sketch,cat,,,", "c,c.png,photo,cat,,,"], "line 3: has more cells than the 6 columns"),
        (["a.png,sketch,cat,,,test"], "line 2: split 'test'"),
        (["a.png,sketch,c\0t,,,"], "line 2: holds a zero byte"),
        (["x.png,sketch,cat,,,"], r"no picture that can be read .*x\.png: no such file"),
        ([".,sketch,cat,,,"], "a folder, not a picture"),
        ([], "no row is left"),
    ],
)
def test_a_manifest_that_is_wrong(folder: Path, lines: list[str], text: str) -> None:
    with pytest.raises(ZseError, match=text):
        prepare(manifest(folder, *lines))


def test_a_manifest_that_is_no_table(folder: Path) -> None:
    for head, name in (
        ("file,modality,class", "path"),
        ("path,modality,clas", "class'; did you mean 'clas"),
        ("", "path"),
    ):
        with pytest.raises(ZseError, match=f"has no column '{name}'"):
            prepare(manifest(folder, "a.png,sketch,cat", head=head))
    for head, options, words in (
        ("path,modality,class,class", {}, "has two columns 'class'"),
        ("path,modality,class,class", {"columns": {"class": "class"}}, "has two columns 'class'"),
        ("path,modality,class,set,set", {"where": {"set": "x"}}, "has two columns 'set'"),
    ):
        with pytest.raises(ZseError, match=words):
            prepare(manifest(folder, "a.png,sketch,cat,dog,x", head=head), **options)
    # of columns that are not asked for, two may have one name, or none
    prepare(manifest(folder, "a.png,sketch,cat,,,1,2", head="path,modality,class,,,note,note"))
    wide = manifest(folder, head=",".join(["path,modality,class", *map(str, range(300_000))]))
    with pytest.raises(ZseError, match="has no column 'zz'") as error:
        read_manifest(wide, {"zz": "1"}, {})
    assert error.value.hint == "its columns: path, modality, class, 0, 1, and 299998 more"
    with pytest.raises(ZseError, match="not a CSV file in UTF-8"):
        prepare(manifest(folder, "a.png,sketch,Käse", encoding="latin-1"))
    with pytest.raises(ZseError, match="No such file"):
        read_manifest(folder / "absent.csv", {}, {})


def test_rows_of_a_manifest(folder: Path) -> None:
    path = manifest(folder, "a.png,sketch,cat,,x,", "b.png,photo,cat,,x,", '"c,c.png",photo,dog,,y,')
    assert prepare(path, where={"family": "x"}).dataset.items.id == ["a.png", "b.png"]
    assert prepare(path, where={"family": "x", "modality": "photo"}).dataset.items.id == ["b.png"]
    with pytest.raises(ZseError, match="no row is left") as error:
        prepare(path, where={"family": "z"})
    assert "family=z leaves out all" in error.value.hint
    with pytest.raises(ZseError, match="no column 'famly'; did you mean 'family'"):
        prepare(path, where={"famly": "x"})


# --- again -----------------------------------------------------------------------------------------------------------


@pytest.mark.fast
def test_unchanged_files_are_not_read_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(tree)
    before = first.path.stat().st_mtime_ns
    no_reading(monkeypatch)
    again = prepare(tree)
    assert (again.fresh, again.dataset.key(), first.path.stat().st_mtime_ns) == (False, first.dataset.key(), before)
    # nor where the meaning changed and the files did not
    renamed = prepare(tree, rule="stem")
    assert (renamed.fresh, renamed.dataset.key() != first.dataset.key()) == (True, True)
    np.testing.assert_array_equal(renamed.dataset.items.sha256, first.dataset.items.sha256)


def test_a_changed_file_is_read_again(tree: Path) -> None:
    first, file = prepare(tree), tree / "photo" / "cat" / "1.jpg"
    stat = file.stat()
    picture(file, 200)
    assert file.stat().st_size == stat.st_size
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    again = prepare(tree)
    digests = read_dataset(again.path).items.sha256
    assert again.fresh
    assert (digests != first.dataset.items.sha256).any(1).tolist() == [False, False, True, False]


def test_files_with_new_times_are_read_once(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(tree)
    for file in tree.rglob("*.*"):
        os.utime(file, ns=(1, 1))
    assert prepare(tree, overwrite=False).dataset.key() == first.dataset.key()
    no_reading(monkeypatch)
    assert not prepare(tree).fresh


def test_files_are_reported_once_and_in_order(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "CHUNK", 2)
    names = ["absent.png", *reversed(NAMES)]
    told: list[Known] = []
    first = hash_files(tree, names, {}, on_read=told.append)
    assert (first.good.tolist(), first.bad) == ([1, 2, 3, 4], [("absent.png", "no such file")])
    assert [list(reads) for reads in told] == [[NAMES[3]], [NAMES[2], NAMES[1]], [NAMES[0]]]
    assert [read[2] for reads in told for read in reads.values()] == [digest.tobytes() for digest in first.sha256]
    picture(tree / NAMES[1], 77)
    known, told = {name: read for reads in told for name, read in reads.items()}, []
    again = hash_files(tree, names, known, on_read=told.append)
    assert [name for reads in told for name in reads] == [NAMES[1]]
    assert (again.sha256 != first.sha256).any(1).tolist() == [False, False, True, False]


def test_a_new_broken_file_is_in_the_report_of_the_store(tree: Path) -> None:
    first = prepare(tree)
    (tree / "photo" / "cat" / "2.png").write_bytes(b"")
    prepare(tree, overwrite=False)
    dataset = read_dataset(first.path)
    assert (dataset.key(), dataset.report["skipped"]) == (first.dataset.key(), [["photo/cat/2.png", "empty"]])


def test_pictures_that_moved(tree: Path) -> None:
    """The store says where they are now; hashes of one folder are not believed of another."""
    output, first = tree.parent / "out.h5", prepare(tree)
    moved = tree.rename(tree.parent / "moved")
    assert prepare_listing(read(moved), output, "pictures").dataset.key() == first.dataset.key()
    assert read_dataset(output).root == moved
    other = tree.parent / "other"
    for name in first.dataset.items.id:
        file, stat = picture(other / name, 99), (moved / name).stat()
        os.utime(file, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    digests = prepare_listing(read(other), output, "pictures").dataset.items.sha256
    assert (digests == digests[0]).all()


def test_another_content_needs_overwrite(tree: Path) -> None:
    prepare(tree)
    picture(tree / "photo" / "cat" / "2.png")
    with pytest.raises(UsageError, match="already holds something"):
        prepare(tree, overwrite=False)
    assert prepare(tree).fresh


def test_a_damaged_store_is_made_again(tree: Path) -> None:
    path = prepare(tree).path
    path.write_bytes(path.read_bytes()[:3000])
    assert prepare(tree).fresh
    assert len(read_dataset(path).items) == 4
    assert not partial_path(path).exists()


def test_the_demo(tmp_path: Path) -> None:
    place = demo_folder() / "manifest.csv"
    with place.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    result = prepare_listing(read(place), tmp_path / "demo.h5", "demo")
    items = result.dataset.items
    assert (len(items), result.skipped) == (len(rows), [])
    counts = Counter((r["modality"], r["class"]) for r in rows)
    names = items.label.names
    modalities = ["sketch" if m == 0 else "photo" for m in items.modality]
    assert Counter(zip(modalities, [names[c] for c in items.label.codes], strict=True)) == counts
    assert len(items.instance.names) == len({(r["class"], r["instance"]) for r in rows if r["instance"]})
    assert result.dataset.report["sketched_instances_without_photo"] == 0


# --- pictures given one by one ---------------------------------------------------------------------------------------


def test_search_finds_pictures_in_folders(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (tree / "photo" / "x.png").mkdir()
    picture(tree / "photo" / "x.png" / "deep.PNG")
    picture(tree / ".thumbnails" / "1.png")
    (tree / "photo" / "._1.png").write_text("")
    (tree / "photo" / "loop").symlink_to(tree, target_is_directory=True)
    found = find_pictures(
        [Path("photo"), Path("sketch/cat/1-1.png"), Path("photo/cat/1.jpg"), Path("absent.png")]
    ).pictures
    assert found == [
        "photo/cat/1.jpg",
        "photo/t-shirt/red.png",
        "photo/x.png/deep.PNG",
        "sketch/cat/1-1.png",
        "absent.png",
    ]
    (tree / "none").mkdir()
    assert find_pictures([Path("photo/cat"), Path("none")]).pictures == ["photo/cat/1.jpg", "none"]
    with pytest.raises(ZseError, match="none: no picture in this folder"):
        make_items(["none"], "photo")


def test_what_has_to_be_exported_is_not_passed_over(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SVG drawing is listed with its reason, but not where a picture of that name lies beside it."""
    monkeypatch.chdir(tree)
    for name in ("sketch/cat/1-1.svg", "sketch/cat/2.svg", "photo/cat/2.HEIC"):
        Path(name).write_text("<svg/>")
    found = find_pictures([Path("photo/cat"), Path("sketch/cat")]).pictures
    assert found == ["photo/cat/1.jpg", "photo/cat/2.HEIC", "sketch/cat/1-1.png", "sketch/cat/2.svg"]
    result = prepare(tree)
    assert [name for name, _ in result.skipped] == ["sketch/cat/2.svg", "photo/cat/2.HEIC"]
    assert result.dataset.report["not_pictures"] == 1


def test_items_of_a_list_of_pictures(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    (tree / "empty.png").write_bytes(b"")
    items, bad = make_items(["photo/cat/1.jpg", "empty.png", "absent.png", "sketch/cat/1-1.png"], "photo")
    assert (items.id, items.modality.tolist()) == (["photo/cat/1.jpg", "sketch/cat/1-1.png"], [1, 1])
    assert bad == [("empty.png", "empty"), ("absent.png", "no such file")]
    for paths in ([], ["empty.png"]):
        with pytest.raises(ZseError, match="no picture to embed"):
            make_items(paths, "photo")
