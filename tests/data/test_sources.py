"""The benchmarks as they lie on disk: every layout and quirk, on generated trees."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from helpers import trees
from helpers.commands import Zse
from helpers.golden import CLASS_LISTS
from zsecli.data.sources import split_files
from zsecli.data.sources.base import Listing
from zsecli.data.sources.classes import Classes
from zsecli.data.sources.options import SourceOptions
from zsecli.data.splits import PUBLISHED
from zsecli.errors import ZseError
from zsecli.vocabulary import DATA_SOURCES

pytestmark = pytest.mark.fast

BENCHMARKS = [name for name in DATA_SOURCES if DATA_SOURCES.load(name).is_benchmark]


def read(name: str, root: Path, **options: object) -> Listing:
    return DATA_SOURCES.load(name).read(root, SourceOptions(**options))  # type: ignore[arg-type]


def counted(listing: Listing) -> dict[tuple[str, str | None], int]:
    return dict(Counter((e.modality, e.part) for e in listing.entries))


# --- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split", "seen", "unseen"),
    [("sketchy", "25", 100, 25), ("sketchy", "21", 104, 21), ("tuberlin", "30", 220, 30), ("quickdraw", "30", 80, 30)],
)
def test_the_tables_are_the_standard_splits(name: str, split: str, seen: int, unseen: int) -> None:
    parts = Classes(name).parts[split]
    for part, file, size in (("seen", "train", seen), ("unseen", "test", unseen)):
        expected = (CLASS_LISTS / f"{name}-{split}.{file}.txt").read_text("utf-8").split("\n")
        names = {n for n, p in parts.items() if p == part}
        assert names == {line.strip() for line in expected if line.strip()}
        assert len(names) == size
    assert (name, split) in PUBLISHED


@pytest.mark.parametrize("name", ["sketchy", "tuberlin", "quickdraw"])
def test_a_folder_stands_for_one_class(name: str) -> None:
    classes = Classes(name)
    assert all(classes.class_of_folder(c) == c for c in classes.names)
    assert all(classes.class_of_folder(c.replace("_", " ").upper()) == c for c in classes.names)
    assert classes.class_of_folder("nonsense") is None


def test_the_typos_of_tuberlin() -> None:
    known = {"tromobone": "trombone", "chandeler": "chandelier", "griaffe": "giraffe", "diamod": "diamond"}
    known |= {
        "spidar": "spider",
        "spacesshuttle": "space shuttle",
        "alarmclock": "alarm clock",
        "pipe": "pipe (for smoking)",
    }
    known |= {"mouse": "mouse (animal)", "computermouse": "computer-mouse", "wristwatching": "wrist-watch"}
    assert {folder: Classes("tuberlin").class_of_folder(folder) for folder in known} == known


# --- sketchy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ready", ["", "_ready"])
@pytest.mark.parametrize("extended", ["EXTEND_image_sketchy", "EXTEND_image_sketchy_ready", "256x256/extended_photo"])
def test_sketchy(tmp_path: Path, ready: str, extended: str) -> None:
    listing = read("sketchy", trees.sketchy(tmp_path, ready=ready, extended=extended))
    # 2 unseen classes of 5: 2 photos, 4 sketches and 3 extended photos each
    assert counted(listing) == {
        ("sketch", "unseen"): 8, ("sketch", "seen"): 12, ("photo", "unseen"): 10, ("photo", "seen"): 15,
    }  # fmt: skip
    assert {e.label for e in listing.entries} == set(trees.SKETCHY)
    assert len(listing.flags["repeated"]) == 10
    assert all(path.startswith(extended) and "ext_" not in path for path in listing.flags["repeated"])
    assert listing.layout == {
        "sketches": f"256x256/sketch/tx_000000000000{ready}",
        "photos": f"256x256/photo/tx_000000000000{ready}",
        "extended photos": extended,
    }
    assert any(w.startswith("10 extended photos are originals again; they are kept") for w in listing.warnings)
    # a sketch's photo is what precedes the last dash; the repeated photo shows the same object
    shown = Counter((e.label, e.instance) for e in listing.entries)
    assert shown["cup", "n02691156_10151"] == 4
    assert (listing.partition, list(listing.partitions)) == ("25", ["21"])
    assert listing.partitions["21"]["cabin"] == "unseen"
    assert listing.partitions["21"]["cup"] == "seen"


def test_sketchy_without_the_extended_photos(tmp_path: Path) -> None:
    trees.sketchy(tmp_path)
    alone = read("sketchy", tmp_path, originals=True)
    assert counted(alone)["photo", "unseen"] == 4
    assert not any("extended" in w for w in alone.warnings)
    shutil.rmtree(tmp_path / "EXTEND_image_sketchy")
    listing = read("sketchy", tmp_path)
    assert counted(listing) == counted(alone)
    assert listing.layout["extended photos"] == "none"
    assert any("there are no extended photos" in w for w in listing.warnings)


def test_the_renderings_of_sketchy(tmp_path: Path) -> None:
    trees.sketchy(tmp_path)
    trees.picture(tmp_path / "256x256/sketch/tx_000100000000/cup/n02691156_196-3.png")
    listing = read("sketchy", tmp_path, variant="tx_000100000000")
    assert [e.path for e in listing.entries if e.modality == "sketch"] == [
        "256x256/sketch/tx_000100000000/cup/n02691156_196-3.png"
    ]
    assert any("the photos have no tx_000100000000: tx_000000000000 is taken" in w for w in listing.warnings)
    assert any(w.startswith("124 classes have no sketches: ") for w in listing.warnings)
    with pytest.raises(ZseError, match="has no tx_9") as error:
        read("sketchy", tmp_path, variant="tx_9")
    assert "tx_000000000000, tx_000100000000" in error.value.hint


def test_the_marks_of_sketchy(tmp_path: Path) -> None:
    trees.info(trees.sketchy(tmp_path, ["airplane", "cup"]))
    listing = read("sketchy", tmp_path)
    sketches = "256x256/sketch/tx_000000000000"
    assert listing.flags["error"] == {f"{sketches}/{c}/n02691156_10151-12.png" for c in ("airplane", "cup")}
    assert {Path(p).name for p in listing.flags["pose"]} == {"n02691156_196-1.png"}
    assert {Path(p).name for p in listing.flags["testset"]} == {"n02691156_196.jpg"}
    assert "invalid-error.txt names 1 pictures that are not there: n99_1-1" in listing.warnings


def test_files_that_do_not_belong_are_left_out(tmp_path: Path) -> None:
    trees.sketchy(tmp_path, ["airplane", "cup"])
    base = tmp_path / "256x256" / "sketch" / "tx_000000000000"
    trees.picture(base / "aeroplan" / "n1_1-1.png")
    trees.picture(base / "stray.png")
    trees.picture(base / "cup" / "n9_9-1.png")
    (base / "zebra").mkdir()
    (base / "cup" / "Thumbs.db").write_text("")
    (base / "cup" / ".hidden.png").write_text("")
    listing = read("sketchy", tmp_path)
    assert listing.skipped == [("256x256/sketch/tx_000000000000/stray.png", "does not lie in tx_000000000000/CLASS/")]
    assert [Path(p).name for p in listing.others] == ["Thumbs.db"]
    unknown = [e for e in listing.entries if e.label == "aeroplan"]
    assert [e.part for e in unknown] == [None]
    said = "\n".join(listing.warnings)
    assert "'aeroplan' is no class of this data set; did you mean 'airplane'?; its 1 pictures are kept" in said
    assert "123 classes have no sketches" in said
    assert "2 sketches have no photo of their own" in said


@pytest.mark.parametrize("base", ["", "rendered_256x256", "rendered_256x256/256x256"])
def test_where_sketchy_may_begin(tmp_path: Path, base: str) -> None:
    plain, root = trees.sketchy(tmp_path / "plain"), tmp_path / "other"
    (root / base).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(plain / "256x256", root / base)
    shutil.copytree(plain / "EXTEND_image_sketchy", root / base / "Extended_Photo")
    trees.info(root)
    listing = read("sketchy", root)
    assert counted(listing) == counted(read("sketchy", plain))
    assert listing.layout["extended photos"] == (Path(base) / "Extended_Photo").as_posix()
    assert [len(listing.flags[name]) for name in ("error", "pose", "testset")] == [5, 5, 10]  # 5 classes


def test_sketchy_without_a_rendering_s_folder(tmp_path: Path) -> None:
    for modality in ("sketch", "photo"):
        folder = trees.sketchy(tmp_path / "plain") / "256x256" / modality / "tx_000000000000"
        shutil.copytree(folder, tmp_path / "flat" / modality)
    listing = read("sketchy", tmp_path / "flat")
    assert Counter(e.modality for e in listing.entries) == {"sketch": 20, "photo": 10}
    assert (listing.layout["sketches"], listing.layout["photos"]) == ("sketch", "photo")
    with pytest.raises(ZseError, match="has no tx_1"):
        read("sketchy", tmp_path / "flat", variant="tx_1")


@pytest.mark.parametrize("ready", ["", "_ready"])
def test_a_rendering_may_be_called_with_ready(tmp_path: Path, ready: str) -> None:
    trees.sketchy(tmp_path, ready=ready)
    found = [read("sketchy", tmp_path, variant=f"tx_000000000000{end}") for end in ("", "_ready")]
    assert found[0].entries == found[1].entries == read("sketchy", tmp_path).entries


def test_folders_may_be_links(tmp_path: Path, zse: Zse) -> None:
    real, root = trees.sketchy(tmp_path / "real"), tmp_path / "linked"
    (root / "256x256").mkdir(parents=True)
    for name in ("256x256/photo", "256x256/sketch", "EXTEND_image_sketchy"):
        (root / name).symlink_to(real / name)
    (tmp_path / "whole").symlink_to(real)
    cup = real / "256x256/sketch/tx_000000000000/cup"
    cup.rename(tmp_path / "cup")
    cup.symlink_to(tmp_path / "cup")
    expected = read("sketchy", real)
    assert len(expected.entries) == 45
    for place in (root, tmp_path / "whole"):
        assert read("sketchy", place).entries == expected.entries
    assert zse("prepare", "sketchy", "linked").code == 0


def test_many_folders_that_are_no_classes(tmp_path: Path) -> None:
    trees.sketchy(tmp_path, ["cup"])
    for number in range(8):
        trees.picture(tmp_path / "256x256/photo/tx_000000000000" / f"zzz{number}" / "n1_1.jpg")
    said = [w for w in read("sketchy", tmp_path).warnings if "of this data set" in w]
    assert len(said) == 6
    assert said[5].startswith("3 more folders are no classes of this data set: zzz5, zzz6, zzz7; their 3 pictures")


# --- the others ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ready", ["", "_ready"])
def test_tuberlin(tmp_path: Path, ready: str) -> None:
    listing = read("tuberlin", trees.tuberlin(tmp_path, ready))
    assert {(e.modality, e.label) for e in listing.entries} == {
        (m, c) for m in ("sketch", "photo") for c in trees.TUBERLIN
    }
    # t-shirt and trombone are unseen
    assert counted(listing) == {
        ("sketch", "seen"): 9, ("sketch", "unseen"): 6, ("photo", "seen"): 6, ("photo", "unseen"): 4,
    }  # fmt: skip
    assert (listing.partition, listing.partitions) == ("30", {})
    assert {e.instance for e in listing.entries} == {None}


@pytest.mark.parametrize("photos", ["images", "photos"])
def test_tuberlin_under_other_names(tmp_path: Path, photos: str) -> None:
    plain = read("tuberlin", trees.tuberlin(tmp_path))
    (tmp_path / "png").rename(tmp_path / "sketches")
    (tmp_path / "ImageResized").rename(tmp_path / photos)
    for folder in (tmp_path / "sketches").iterdir():
        folder.rename(folder.with_name(folder.name.replace(" ", "_").replace("-", "_")))
    listing = read("tuberlin", tmp_path)
    assert (counted(listing), listing.warnings) == (counted(plain), plain.warnings)


def test_quickdraw(tmp_path: Path) -> None:
    listing = read("quickdraw", trees.quickdraw(tmp_path))
    assert Counter(e.label for e in listing.entries) == dict.fromkeys(trees.QUICKDRAW, 5)
    # palm tree is unseen
    assert counted(listing)["sketch", "unseen"] == 3


@pytest.mark.parametrize("packed", [False, True])
def test_qmul(tmp_path: Path, packed: bool) -> None:
    listing = read("shoe", trees.repacked(tmp_path) if packed else trees.qmul(tmp_path))
    assert counted(listing) == {
        ("sketch", "seen"): 6, ("sketch", "unseen"): 4, ("photo", "seen"): 3, ("photo", "unseen"): 2,
    }  # fmt: skip
    assert Counter(e.instance for e in listing.entries) == dict.fromkeys(("11", "22", "33", "44", "Product_5_1"), 3)
    assert {e.label for e in listing.entries} == {"shoe"}
    assert (listing.warnings, listing.skipped) == ([], [])


def test_qmul_with_vector_drawings_alone(tmp_path: Path) -> None:
    trees.qmul(tmp_path)
    drawings = tmp_path / "ShoeV2_sketch"
    shutil.copytree(drawings, tmp_path / "ShoeV2_sketch_png")
    for file in drawings.iterdir():
        file.rename(file.with_suffix(".svg"))
    assert counted(read("shoe", tmp_path))["sketch", "unseen"] == 4
    shutil.rmtree(tmp_path / "ShoeV2_sketch_png")
    with pytest.raises(ZseError, match="ShoeV2_sketch: holds no picture") as error:
        read("shoe", tmp_path)
    assert "rendered as PNG" in error.value.hint


def test_the_lists_of_qmul(tmp_path: Path) -> None:
    trees.qmul(tmp_path, "ChairV2")
    trees.picture(tmp_path / "ChairV2_photo" / "55.png")
    trees.picture(tmp_path / "ChairV2_sketch" / "66_1.png")
    (tmp_path / "photo_test.txt").write_text("44\nProduct_5_1\n77.png\n")
    listing = read("chair", tmp_path)
    assert listing.skipped == [("77.png", "photo_test.txt, line 3: no such file")]
    said = "\n".join(listing.warnings)
    assert "1 photo files are in no list, so in no split: 55.png" in said
    assert "1 sketches have no photo of their own: ChairV2_sketch/66_1.png" in said
    (tmp_path / "sketch_test.txt").unlink()
    with pytest.raises(ZseError, match=r"needs sketch_test\.txt"):
        read("chair", tmp_path)


def test_the_lists_of_qmul_may_lie_deeper(tmp_path: Path) -> None:
    plain = read("shoe", trees.qmul(tmp_path))
    (tmp_path / "splits").mkdir()
    for file in list(tmp_path.glob("*.txt")):
        file.rename(tmp_path / "splits" / file.name)
    for file in (tmp_path / "ShoeV2_photo").iterdir():
        file.rename(file.with_suffix(".PNG"))
    listing = read("shoe", tmp_path)
    assert counted(listing) == counted(plain)
    assert (listing.warnings, listing.skipped) == ([], [])


def test_an_object_of_both_parts(tmp_path: Path) -> None:
    trees.qmul(tmp_path)
    (tmp_path / "photo_test.txt").write_text("44\n11.png\n")
    with pytest.raises(ZseError, match=r"photo_test\.txt, line 2: 11 is in photo_train\.txt already"):
        read("shoe", tmp_path)


# --- lists -----------------------------------------------------------------------------------------------------------


def test_lists_give_the_parts(tmp_path: Path) -> None:
    root = trees.sketchy(tmp_path / "Sketchy")
    train = ["256x256/sketch/tx_000000000000_ready/cabin/n02691156_196-1.png"]
    zero = [
        "256x256/photo/tx_000000000000_ready/hot-air_balloon/n02691156_10151.jpg",
        "256x256/EXTEND_image_sketchy_ready/hot-air_balloon/n02691156_10151.jpg",
        "256x256/EXTEND_image_sketchy_ready/car_(sedan)/ext_7.jpg",
    ]
    listing = split_files.apply_lists(read("sketchy", root), trees.lists(tmp_path / "lists", train, zero))
    parts = {e.path: e.part for e in listing.entries if e.part}
    assert parts == {
        "256x256/sketch/tx_000000000000/cabin/n02691156_196-1.png": "seen",
        "256x256/photo/tx_000000000000/hot-air_balloon/n02691156_10151.jpg": "unseen",
        "EXTEND_image_sketchy/hot-air_balloon/n02691156_10151.jpg": "unseen",
        "EXTEND_image_sketchy/car_(sedan)/ext_7.jpg": "unseen",
    }
    assert (listing.partition, listing.partitions, listing.skipped) == ("lists", {}, [])
    assert "41 pictures are in no list, so in no split" in listing.warnings


def test_a_path_with_blanks_is_split_at_the_last(tmp_path: Path) -> None:
    root = trees.tuberlin(tmp_path / "t")
    folder = trees.lists(tmp_path / "l", ["png_ready/alarm clock/1.png"], ["ImageResized_ready/alarmclock/n0_0.JPEG"])
    listing = split_files.apply_lists(read("tuberlin", root), folder)
    assert counted(listing)["sketch", "seen"] == counted(listing)["photo", "unseen"] == 1


def test_lists_that_do_not_fit(tmp_path: Path) -> None:
    root = trees.sketchy(tmp_path / "s", ["cup"])
    good = "photo/tx_000000000000/cup/n02691156_10151.jpg"
    # a file of this name lies in the extended photos, but that is another picture
    (root / "256x256/photo/tx_000000000000/cup/n02691156_196.jpg").unlink()
    lost = "photo/tx_000000000000/cup/n02691156_196.jpg"
    folder = trees.lists(tmp_path / "l", [good], [lost, "EXTEND_image_sketchy/cup/ext_7.jpg"])
    listing = split_files.apply_lists(read("sketchy", root), folder)
    assert listing.skipped == [(lost, "all_photo_filelist_zero.txt, line 1: no such file below s")]
    with pytest.raises(ZseError, match="is in two parts") as error:
        split_files.apply_lists(read("sketchy", root), trees.lists(tmp_path / "l", [good], [good]))
    assert "all_photo_filelist_zero.txt, line 1" in error.value.message
    for empty in (tmp_path / "absent", tmp_path / "s"):
        with pytest.raises(ZseError, match="has no train and zero lists"):
            split_files.apply_lists(read("sketchy", root), empty)


def test_a_test_list_beside_a_zero_list_holds_seen_classes(tmp_path: Path) -> None:
    root = trees.tuberlin(tmp_path / "t")
    folder = trees.lists(tmp_path / "l", ["png/giraffe/1.png"], ["png/t-shirt/1.png"])
    (folder / "png_ready_filelist_test.txt").write_text("png_ready/giraffe/2.png 0\n")
    listing = split_files.apply_lists(read("tuberlin", root), folder)
    assert counted(listing)["sketch", "seen"] == counted(listing)["sketch", "unseen"] == 1
    said = "not read beside the zero lists, as it holds seen classes: png_ready_filelist_test.txt"
    assert said in listing.warnings
    (folder / "all_photo_filelist_zero.txt").unlink()  # alone it is the unseen part
    listing = split_files.apply_lists(read("tuberlin", root), folder)
    assert {e.path for e in listing.entries if e.part == "unseen"} == {"png/giraffe/2.png"}


def test_the_last_word_of_a_list_s_name_counts(tmp_path: Path) -> None:
    root = trees.tuberlin(tmp_path / "t")
    (tmp_path / "l").mkdir()
    for end, path in (("train", "png/giraffe/1.png"), ("unseen", "png/t-shirt/1.png")):
        (tmp_path / "l" / f"zeroshot_{end}.txt").write_bytes(f"{path} 0\r\n".encode())
    (tmp_path / "l" / "train_notes.txt").write_text("what these are\n")
    listing = split_files.apply_lists(read("tuberlin", root), tmp_path / "l")
    assert {e.path: e.part for e in listing.entries if e.part} == {
        "png/giraffe/1.png": "seen", "png/t-shirt/1.png": "unseen",
    }  # fmt: skip
    assert "no lines `path label` in train_notes.txt" in listing.warnings


def test_lists_know_the_extended_photos_by_every_name(tmp_path: Path) -> None:
    root = trees.sketchy(tmp_path / "s", ["cup"], extended="extended_photo")
    zero = ["EXTEND_image_sketchy_ready/cup/n02691156_196.jpg", "cup/n02691156_10151.jpg", "cup/ext_7.jpg"]
    train = ["256x256/photo/tx_000000000000_ready/cup/n02691156_196.jpg"]
    listing = split_files.apply_lists(read("sketchy", root), trees.lists(tmp_path / "l", train, zero))
    assert {e.path for e in listing.entries if e.part == "unseen"} == {
        "extended_photo/cup/n02691156_196.jpg",
        "extended_photo/cup/ext_7.jpg",
    }
    where = "all_photo_filelist_zero.txt, line 2"
    assert listing.skipped == [("cup/n02691156_10151.jpg", f"{where}: fits several files below s")]


# --- the command -----------------------------------------------------------------------------------------------------


def test_a_benchmark_in_its_usual_place(tmp_path: Path, zse: Zse) -> None:
    trees.sketchy(tmp_path / "datasets" / "Sketchy", ["airplane", "cup", "hot-air_balloon"])
    done = zse("prepare", "sketchy")
    assert (done.code, done.out) == (0, "zse/datasets/sketchy.h5\n")
    assert "6 extended photos are originals again" in done.err
    about = json.loads(zse("inspect", "zse/datasets/sketchy.h5", "--json").ok())
    differs = "; DIFFERS from the published 15229 sketches, 17101 photos"
    assert about["splits"]["zs-inter"] == f"8 sketches, 10 photos, 2 classes{differs}"
    assert about["splits"]["generalized"] == "8 sketches, 15 photos, 2 classes"
    assert about["report"]["layout"]["extended photos"] == "EXTEND_image_sketchy"
    zse("prepare", "sketchy", "--drop", "repeated", "--name", "clean")
    clean = json.loads(zse("inspect", "zse/datasets/clean.h5", "--json").ok())
    assert clean["splits"]["zs-inter"] == f"8 sketches, 6 photos, 2 classes{differs}"
    assert clean["report"]["dropped"] == {"repeated": 6}


def test_evaluate_prepares_what_is_not(tmp_path: Path, zse: Zse) -> None:
    trees.tuberlin(tmp_path / "datasets" / "TUBerlin")
    (part,) = json.loads(zse("evaluate", "--data", "tuberlin", "--json").out)["protocols"].values()
    assert (part["queries"], part["photos_per_query"]) == (6, 4)
    assert (tmp_path / "zse" / "datasets" / "tuberlin.h5").is_file()


def test_cross_data_set(tmp_path: Path, zse: Zse) -> None:
    trees.tuberlin(tmp_path / "datasets" / "TUBerlin")
    trees.quickdraw(tmp_path / "datasets" / "QuickDraw")
    words = ("evaluate", "--split", "zs-cross-all", "--data", "tuberlin", "--json")
    report = json.loads(zse(*words, "--train-data", "quickdraw").out)
    assert report["seen_in_training"] == {}
    trees.picture(tmp_path / "datasets/QuickDraw/sketches/giraffe/1.png")
    zse("prepare", "quickdraw")
    report = json.loads(zse(*words, "--train-data", "quickdraw").out)
    queries = {name: part["queries"] for name, part in report["protocols"].items()}
    if Classes("quickdraw").parts["30"]["giraffe"] == "seen":
        assert report["seen_in_training"] == {"giraffe": "giraffe"}
        assert queries == {"zs-cross-all": 12, "zs-cross-all/novel": 9}
    zse(*words).refused(2, "needs --train-data")
    zse("evaluate", "--train-data", "quickdraw").refused(2, "--train-data has no effect with --split zs-inter")


def test_a_missing_tree(tmp_path: Path, zse: Zse) -> None:
    said = zse("prepare", "sketchy").refused(1, "not found (looked for ./datasets/sketchy,", "sketchy.eye.gatech.edu")
    assert "256x256/sketch/tx_000000000000/CLASS/*.png" in said
    zse("prepare", "tuberlin", "--root", "gone").refused(2, "gone: no such folder")
    (tmp_path / "wrong" / "stuff").mkdir(parents=True)
    zse("prepare", "tuberlin", "--root", "wrong").refused(1, "needs a folder png/ (found: stuff)", "ImageResized/CLASS")
    assert not (tmp_path / "zse" / "datasets").exists() or not list((tmp_path / "zse" / "datasets").iterdir())


@pytest.mark.parametrize("name", BENCHMARKS)
def test_where_a_benchmark_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in DATA_SOURCES.load(name).folder_names[::-1]:
        Path("datasets", folder).mkdir(parents=True, exist_ok=True)
        assert DATA_SOURCES.load(name).find(None) == Path("datasets", folder)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_message_for_a_missing_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    source = DATA_SOURCES.load(name)
    for root, looked in ((None, [f"./datasets/{n}" for n in source.folder_names]), (Path("gone"), ["gone", name])):
        with pytest.raises(ZseError) as error:
            source.find(root)
        assert all(word in error.value.message for word in looked)
        assert source.home in error.value.hint and source.shape in error.value.hint
        assert "\n" not in error.value.message + error.value.hint


def test_options_that_have_no_say(tmp_path: Path, zse: Zse) -> None:
    trees.tuberlin(tmp_path / "t")
    zse("prepare", "tuberlin", "t", "--variant", "tx_1").refused(2, "--variant has no effect with tuberlin")
    zse("prepare", "tuberlin", "t", "--where", "a=b").refused(2, "--where has no effect with tuberlin")
    zse("prepare", "folder", "t", "--lists", "l").refused(2, "--lists has no effect with folder")
    zse("prepare", "tuberlin", "t", "--root", "t").refused(2, "twice")


def test_a_list_that_names_a_missing_file_ends_with_4(tmp_path: Path, zse: Zse) -> None:
    trees.tuberlin(tmp_path / "t")
    zero = ["png/giraffe/1.png", "ImageResized/griaffe/n0_0.JPEG", "png/giraffe/99.png"]
    trees.lists(tmp_path / "l", ["png/t-shirt/1.png"], zero)
    done = zse("prepare", "tuberlin", "t", "--lists", "l")
    assert (done.code, done.out) == (4, "zse/datasets/tuberlin.h5\n")
    assert "skipped: png/giraffe/99.png: all_photo_filelist_zero.txt, line 3: no such file below t" in done.err
    splits = json.loads(zse("inspect", "zse/datasets/tuberlin.h5", "--json").ok())["splits"]
    assert splits["zs-inter"] == "1 sketches, 1 photos, 1 classes"
