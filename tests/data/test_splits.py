"""Splits of a prepared data set: what each asks and looks through, what is held out, what is marked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from helpers import trees
from helpers.commands import Done, Zse, call
from zsecli.data import hashing, splits
from zsecli.data.items import NEITHER, PHOTO, SEEN, SKETCH, UNSEEN, Column, Items
from zsecli.data.sources.base import Entry, Listing
from zsecli.data.sources.folder import read
from zsecli.data.splits import Split, count_splits, hold_out_validation, select_pictures
from zsecli.data.synonyms import find_shared_classes, read_synonyms
from zsecli.errors import UsageError, ZseError
from zsecli.stages.prepare_listing import PreparedDataset, prepare_listing
from zsecli.store.dataset import read_dataset

CLASSES, OBJECTS = 12, 30  # the last three classes are unseen; every object has a photo and two sketches


def made() -> Items:
    """A table without files: two sketches and a photo of each of 30 objects in each of 12 classes."""
    rows = [
        (f"{m}/{c}/{o}-{k}", m, c, o)
        for m, copies in (("sketch", 2), ("photo", 1))
        for c in range(CLASSES)
        for o in range(OBJECTS)
        for k in range(copies)
    ]
    rng = np.random.default_rng(0)
    return Items(
        id=[r[0] for r in rows],
        modality=np.array([SKETCH if r[1] == "sketch" else PHOTO for r in rows], np.uint8),
        part=np.array([UNSEEN if r[2] >= CLASSES - 3 else SEEN for r in rows], np.int8),
        sha256=rng.integers(0, 256, (len(rows), 32), dtype=np.uint8),
        label=Column.from_values([f"class {r[2]}" for r in rows]),
        instance=Column.from_values([f"class {r[2]}/{r[3]}" for r in rows]),
    )


def names(column: Column, mask: Any) -> set[str]:
    return {column.names[c] for c in np.unique(column.codes[mask])}


def test_validation_holds_out_seen_classes_and_objects_alone() -> None:
    items = made()
    held = hold_out_validation(items, items.part)
    classes, objects = held["validation"], held["validation-items"]
    unseen = items.part == UNSEEN
    assert (classes[unseen] == NEITHER).all()
    assert (objects[unseen] == NEITHER).all()
    # what training may use is one and the same, and nothing held out is in it
    assert ((classes == SEEN) == (objects == SEEN)).all()
    assert len(names(items.label, classes == UNSEEN)) == round(9 / 10)
    assert not names(items.label, classes == UNSEEN) & names(items.label, classes == SEEN)
    # an object is held out with all its pictures, and its class is one that training sees
    assert not names(items.instance, objects == UNSEEN) & names(items.instance, objects == SEEN)
    assert names(items.label, objects == UNSEEN) <= names(items.label, objects == SEEN)
    share = (objects == UNSEEN).sum() / (objects >= 0).sum()
    assert 0.02 < share < 0.09
    assert ((classes >= 0) | (objects >= 0)).sum() == (items.part == SEEN).sum()


def test_what_is_held_out_depends_on_names_alone() -> None:
    items = made()
    order = np.random.default_rng(1).permutation(len(items))
    shuffled = items.take(order)
    for name, part in hold_out_validation(items, items.part).items():
        assert (hold_out_validation(shuffled, shuffled.part)[name] == part[order]).all()


def test_pictures_without_an_object_are_held_out_by_content() -> None:
    items = made()
    items.instance = Column(np.full(len(items), -1, np.int32), [])
    items.sha256[1] = items.sha256[0]  # one file twice is on one side
    held = hold_out_validation(items, items.part)["validation-items"]
    assert 0.02 < (held == UNSEEN).sum() / (held >= 0).sum() < 0.09
    assert held[0] == held[1]


def test_few_classes_hold_out_none() -> None:
    items = made()
    part = np.where(items.label.codes < 3, SEEN, NEITHER)
    assert list(hold_out_validation(items, part)) == ["validation-items"]
    assert hold_out_validation(items, np.full(len(items), UNSEEN)) == {}


@pytest.mark.parametrize(
    ("text", "family", "partition", "selection"),
    [
        ("zs-inter", "zs-inter", "", "unseen"),
        ("zs-inter-21", "zs-inter", "21", "unseen-21"),
        ("zs-intra-validation-items", "zs-intra", "validation-items", "unseen-validation-items"),
        ("generalized-21", "generalized", "21", "generalized-21"),
        ("zs-cross", "zs-cross", "", "unseen"),
        ("zs-cross-all", "zs-cross-all", "", "all"),
    ],
)
def test_the_name_of_a_split(text: str, family: str, partition: str, selection: str) -> None:
    split = Split.parse(text)
    assert (split.protocol, split.partition, split.pictures, split.name) == (family, partition, selection, text)


@pytest.mark.parametrize("text", ["zs-iner", "", "21", "zs-inter-"])
def test_a_name_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="there is no split") as error:
        Split.parse(text)
    assert "zs-inter, zs-intra" in error.value.hint


def picture(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", (8, 8), 255)
    image.putpixel((colour % 8, colour // 8), 0)
    image.save(path, "PNG")


def listing(root: Path) -> Listing:
    """Three classes, a sketch and a photo of each; `c` is unseen, of the split `other` `a`; a photo is marked."""
    entries = []
    for i, (modality, name) in enumerate((m, c) for m in ("sketch", "photo") for c in "abc"):
        path = f"{modality}/{name}/1.png"
        picture(root / path, i)
        entries.append(
            Entry(path=path, modality=modality, label=name, instance="1", part="unseen" if name == "c" else "seen")
        )
    other = {"a": "unseen", "b": "seen"}
    return Listing(
        root=root, entries=entries, partition="own", partitions={"other": other}, flags={"pose": {"photo/b/1.png"}}
    )


def prepare(found: Listing, **options: Any) -> PreparedDataset:
    return prepare_listing(found, found.root.parent / "out.h5", "three", **options)


def test_rows_of_every_split(tmp_path: Path) -> None:
    dataset = read_dataset(prepare(listing(tmp_path / "t")).path)

    def chosen(split: str) -> dict[str, int]:
        items = select_pictures(dataset, Split.parse(split))
        return dict(zip(items.id, items.part.tolist(), strict=True))

    unseen = {"sketch/c/1.png": 1, "photo/c/1.png": 1}
    assert chosen("zs-inter") == chosen("zs-intra") == chosen("zs-cross") == chosen("zs-inter-own") == unseen
    assert chosen("zs-inter-other") == {"sketch/a/1.png": 1, "photo/a/1.png": 1}
    assert chosen("generalized") == {**unseen, "photo/a/1.png": 0, "photo/b/1.png": 0}
    assert chosen("generalized-other") == {"sketch/a/1.png": 1, "photo/a/1.png": 1, "photo/b/1.png": 0}
    assert len(chosen("zs-cross-all")) == 6
    with pytest.raises(UsageError, match="has no split 'othr'; did you mean 'other'"):
        chosen("zs-inter-othr")


def test_a_split_without_pictures(tmp_path: Path) -> None:
    found = listing(tmp_path / "t")
    found.entries = [e for e in found.entries if (e.modality, e.label) != ("photo", "c")]
    dataset = prepare(found).dataset
    with pytest.raises(ZseError, match="has no unseen photos for zs-inter"):
        select_pictures(dataset, Split("zs-inter"))
    assert {c.split.name for c in count_splits(dataset)} == {
        "zs-cross-all", "zs-inter-other", "zs-intra-other", "generalized-other", "zs-cross-other",
    }  # fmt: skip


def test_published_counts_stand_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splits, "PUBLISHED", {("sketchy", "own"): (1, 1), ("sketchy", "other"): (1, 2)})
    dataset = prepare(listing(tmp_path / "t"), benchmark="sketchy").dataset
    said = {c.split.name: str(c) for c in count_splits(dataset)}
    assert said["zs-inter"] == "1 sketches, 1 photos, 1 classes; as published"
    assert said["zs-inter-other"] == (
        "1 sketches, 1 photos, 1 classes; DIFFERS from the published 1 sketches, 2 photos"
    )
    assert said["generalized"] == "1 sketches, 3 photos, 1 classes"
    own = prepare(listing(tmp_path / "t"), benchmark="").dataset
    assert all("published" not in str(c) for c in count_splits(own))


def test_flags_are_kept_said_and_dropped(tmp_path: Path) -> None:
    root = tmp_path / "t"
    found = listing(root)
    Image.new("RGB", (8, 8), (250, 250, 250)).save(root / "sketch/a/1.png")
    (root / "photo/c/1.png").write_bytes((root / "photo/a/1.png").read_bytes())
    dataset = read_dataset(prepare(found).path)
    ids = np.array(dataset.items.id, object)
    marked = {flag: ids[marks].tolist() for flag, marks in dataset.flags.items()}
    assert marked == {"pose": ["photo/b/1.png"], "blank": ["sketch/a/1.png"], "duplicate": ["photo/c/1.png"]}
    assert dataset.report["flags"] == {"pose": 1, "blank": 1, "duplicate": 1}
    less = prepare(found, drop=["blank", "pose"]).dataset
    assert set(dataset.items.id) - set(less.items.id) == {"photo/b/1.png", "sketch/a/1.png"}
    assert less.report["dropped"] == {"blank": 1, "pose": 1}
    with pytest.raises(UsageError, match="--drop pos: there is no such flag; did you mean 'pose'"):
        prepare(found, drop=["pos"])


def test_damaged_pictures_are_found_when_they_are_prepared(tmp_path: Path) -> None:
    root = tmp_path / "t"
    found = listing(root)
    file = root / "photo/a/1.png"
    file.write_bytes(file.read_bytes()[:-32])
    ((name, why),) = prepare(found).skipped
    assert name == "photo/a/1.png"
    assert "damaged" in why


def test_a_stopped_run_reads_no_picture_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "t"
    found = listing(root)
    opened: list[Any] = []
    given = hashing.read_opened

    def counted(file: Any, use: Any) -> Any:
        opened.append(file)
        return given(file, use)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(hashing, "read_opened", counted)
    with monkeypatch.context() as patch:
        patch.setattr("zsecli.stages.prepare_listing.write_dataset", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepare(found)
    journal = tmp_path / "out.h5.hashes"
    assert len(opened) == 6
    # a kill may cut the last line
    journal.write_text(journal.read_text()[:-30])
    result = prepare(found)
    assert len(opened) == 7
    assert not journal.exists()
    assert result.dataset.key() == prepare_listing(found, tmp_path / "again" / "out.h5", "three").dataset.key()
    # under another name beside it nothing is read again
    opened.clear()
    prepare_listing(found, tmp_path / "other.h5", "other")
    assert opened == []


SPLITS = ("zs-inter", "zs-inter-25", "zs-inter-21", "zs-intra", "zs-intra-21", "generalized", "generalized-21",
          "zs-cross-all")  # fmt: skip
ANSWERS = {  # pictures by part or split: the splits that a ranking of them answers
    "--part unseen": {"zs-inter", "zs-inter-25", "zs-intra"},
    "--part all": {"zs-inter", "zs-inter-25", "zs-intra", "generalized", "zs-cross-all"},
    "--split zs-inter-25": {"zs-inter", "zs-inter-25", "zs-intra"},
    "--split zs-inter-21": {"zs-inter-21", "zs-intra-21"},
    "--split generalized": {"zs-inter", "zs-inter-25", "zs-intra", "generalized"},
    "--split generalized-21": {"zs-inter-21", "zs-intra-21", "generalized-21"},
    "--split zs-cross-all": {"zs-inter", "zs-inter-25", "zs-intra", "generalized", "zs-cross-all"},
}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two benchmarks prepared, sketchy and tuberlin."""
    folder = tmp_path_factory.mktemp("benchmarks")
    classes = ("airplane", "hot-air_balloon", "cup", "cabin", "ape", "door", "bell")
    trees.sketchy(folder / "datasets" / "sketchy", classes)
    trees.tuberlin(folder / "datasets" / "tuberlin")
    for name in ("sketchy", "tuberlin"):
        assert call(folder, "prepare", name).code == 0
    return folder


def asked(done: Done) -> dict[str, Any]:
    """How many queries, photos and which classes each protocol of a JSON report has."""
    parts = json.loads(done.out)["protocols"]
    return {name: (p["queries"], p["photos_per_query"], set(p["per_class"])) for name, p in parts.items()}


@pytest.mark.parametrize("made", ANSWERS)
def test_a_ranking_answers_what_it_was_made_for(benchmark: Path, tmp_path: Path, made: str) -> None:
    shutil.copytree(benchmark, tmp_path / "here")
    here = tmp_path / "here"
    features = call(here, "embed", "--data", "sketchy", *made.split(), "-q").out.strip()
    ranking = call(here, "match", features, "-o", "ranking.h5", "-q").out.strip()
    for split in SPLITS:
        cross = ("--train-data", "tuberlin") if "cross" in split else ()
        done = call(here, "evaluate", ranking, "--split", split, *cross, "--json")
        if split not in ANSWERS[made]:
            done.refused(2, f"not those of {split}", f"zse match --split {split}")
            continue
        fresh = call(here, "evaluate", "--data", "sketchy", "--split", split, *cross, "--json")
        assert asked(done) == asked(fresh)


def test_a_ranking_of_two_selections(benchmark: Path, tmp_path: Path) -> None:
    shutil.copytree(benchmark, tmp_path / "here")
    here = tmp_path / "here"
    for split in ("zs-inter", "generalized", "generalized-21"):
        call(here, "embed", "--data", "sketchy", "--split", split, "-o", f"{split}.h5")
    call(here, "match", "zs-inter.h5", "generalized.h5", "-o", "good.h5")
    call(here, "match", "zs-inter.h5", "generalized-21.h5", "-o", "bad.h5")
    assert call(here, "evaluate", "good.h5", "--split", "generalized").code == 0
    for split in ("zs-inter", "generalized", "generalized-21"):
        call(here, "evaluate", "bad.h5", "--split", split).refused(2, "bad.h5: its ", f"not those of {split}")


def test_pictures_of_no_split_are_not_asked(benchmark: Path, tmp_path: Path) -> None:
    shutil.copytree(benchmark, tmp_path / "here")
    here = tmp_path / "here"
    for number in range(3):
        trees.picture(here / "datasets/tuberlin/png/zzz" / f"{number}.png")
        trees.picture(here / "datasets/tuberlin/ImageResized/zzz" / f"n_{number}.JPEG")
    call(here, "prepare", "tuberlin")
    ranking = call(here, "match", "--data", "tuberlin", "--split", "zs-cross-all", "-q").out.strip()
    (part,) = json.loads(call(here, "evaluate", ranking, "--json").out)["protocols"].values()
    assert set(part["per_class"]) == {"t-shirt", "trombone"}
    assert (part["queries"], part["photos_per_query"]) == (6, 4)


def test_classes_seen_in_training_are_named(benchmark: Path, tmp_path: Path, pictures: Path) -> None:
    shutil.copytree(benchmark, tmp_path / "here")
    here = tmp_path / "here"
    cross = ("evaluate", "--split", "zs-cross", "--data", "own")
    tree = tmp_path / "own"
    for name in ("airplane", "chair"):
        for modality in ("sketch", "photo"):
            trees.picture(tree / modality / name / "1.png")
    call(here, "prepare", "folder", tree).ok()
    # airplane is unseen of 25, the default, and seen of 21
    for train, left in (("sketchy", 2), ("sketchy:21", 1), ("sketchy:25", 2)):
        report = json.loads(call(here, *cross, "--train-data", train, "--json").ok())
        assert report["protocols"]["zs-cross/novel"]["queries"] == left
    call(here, "prepare", "folder", pictures).ok()
    call(here, *cross, "--train-data", "pictures").refused(1, "pictures: has no seen class", "--unseen FILE")
    call(here, *cross, "--train-data", "sketchy:23").refused(2, "has no split '23'", "25, 21")
    call(here, *cross, "--train-data", "nope", "--dry-run").refused(1, "no data set 'nope'")
    call(here, *cross, "--train-data", "own").refused(2, "--train-data own: is the data set to evaluate on")
    call(here, *cross[:3], "--train-data", "sketchy").refused(2, "needs --data")
    shutil.rmtree(tree / "sketch" / "chair")
    shutil.rmtree(tree / "photo" / "chair")
    call(here, "prepare", "folder", tree, "-q")
    done = call(here, *cross, "--train-data", "sketchy:21", "--json").ok()
    assert list(json.loads(done)["protocols"]) == ["zs-cross"]
    assert json.loads(done)["notes"] == ["zs-cross/novel: every class was seen in training"]


def test_zs_cross_keeps_its_first_report_where_the_second_has_no_query(tmp_path: Path, zse: Zse) -> None:
    """The one class that training did not see has sketches alone, and another one photos alone."""
    for modality, extra in (("sketch", "drawn"), ("photo", "taken")):
        for name in ("a", "b", extra):
            trees.picture(tmp_path / "asked" / modality / name / "1.png")
        for name in ("a", "b", "c"):
            trees.picture(tmp_path / "trained" / modality / name / "1.png")
    (tmp_path / "unseen.txt").write_text("c\n")
    zse("prepare", "folder", "asked", "-q")
    zse("prepare", "folder", "trained", "--unseen", "unseen.txt").ok()
    words = ("evaluate", "--data", "asked", "--split", "zs-cross", "--train-data", "trained")
    note = "zs-cross/novel: no query has a relevant photo, so nothing is measured"
    report = json.loads(zse(*words, "--json", "--sheet", "sheet.png", "--trec", "trec").ok())
    assert report["notes"] == [note]
    assert [part["queries"] for part in report["protocols"].values()] == [2, 0]
    assert note in zse(*words, "--per-class").ok()
    done = zse(*words, "--csv")
    assert (done.code, done.err) == (0, f"note: {note}\n") and "zs-cross,zs-cross," in done.out
    words = (*words[:2], "seen", *words[3:])
    for modality, name in (("sketch", "drawn"), ("photo", "taken")):
        trees.picture(tmp_path / "seen" / modality / name / "1.png")
    zse("prepare", "folder", "seen", "-q")
    zse(*words).refused(1, "no query has a relevant photo under zs-cross and zs-cross/novel", "zse inspect")


def test_synonyms() -> None:
    assert all(len(group) > 1 for group in read_synonyms())
    assert sum(len(g) for g in read_synonyms()) == len(set().union(*read_synonyms()))
    assert find_shared_classes(["car_(sedan)", "zebra"], ["car (sedan)", "car", "Zebra", "cat"]) == {
        "car (sedan)": "car_(sedan)", "car": "car_(sedan)", "Zebra": "zebra",
    }  # fmt: skip


def test_classes_of_another_column_are_those_that_training_saw(tmp_path: Path, pictures: Path, zse: Zse) -> None:
    """Trained on pictures called by their subgroup, asked for nouns: only the column of nouns tells what was seen."""
    for name, nouns in (("trained", ("crow", "tea-cup")), ("asked", ("Crow", "teacup", "padlock"))):
        lines = ["file,kind,subgroup,noun,modality,split"]
        for noun, folder in zip(nouns, ("animal-bird", "drink", "lock"), strict=False):
            for modality in ("sketch", "photo"):
                for file in sorted((pictures / modality / folder).iterdir())[:2]:
                    part = "seen" if name == "trained" else "unseen"
                    lines.append(f"{modality}/{folder}/{file.name},x,{folder},{noun},{modality},{part}")
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        for modality in ("sketch", "photo"):
            if not (tmp_path / modality).exists():
                (tmp_path / modality).symlink_to(pictures / modality)
    nouns, path = ("--column", "class=noun"), ("--column", "path=file")
    zse("prepare", "folder", "trained.csv", *path, "--column", "class=subgroup", "--name", "groups").ok()
    zse("prepare", "folder", "trained.csv", *path, *nouns, "--name", "nouns").ok()
    zse("prepare", "folder", "asked.csv", *path, *nouns, "--name", "asked").ok()
    for trained, queries, known in (("groups", 6, {}), ("nouns", 2, {"Crow": "crow", "teacup": "tea-cup"})):
        words = ("evaluate", "--data", "asked", "--split", "zs-cross", "--train-data", trained, "--json")
        report = json.loads(zse(*words).ok())
        assert report["protocols"]["zs-cross/novel"]["queries"] == queries
        assert report["seen_in_training"] == known


@pytest.fixture
def half(tmp_path: Path, pictures: Path, zse: Zse) -> Path:
    """`three` prepared from the demo pictures with one of three classes unseen."""
    (tmp_path / "unseen.txt").write_text("animal-bird\n")
    zse("prepare", "folder", pictures, "--unseen", "unseen.txt", "--name", "three").ok()
    return tmp_path


def test_generalized_looks_through_seen_photos_too(half: Path, zse: Zse) -> None:
    (part,) = json.loads(zse("evaluate", "--split", "generalized", "--json").ok())["protocols"].values()
    assert (part["queries"], part["photos_per_query"]) == (6, 24)
    (inter,) = json.loads(zse("evaluate", "--json").ok())["protocols"].values()
    assert (inter["queries"], inter["photos_per_query"]) == (6, 8)
    ranking = zse("match").ok()
    refused = zse("evaluate", ranking, "--split", "generalized")
    refused.refused(2, "its photos are the unseen ones", "zse match --split generalized")
    # the ranking of the larger gallery answers the smaller question alike
    wide = json.loads(zse("evaluate", zse("match", "--split", "generalized").ok(), "--json").ok())
    assert wide["protocols"]["zs-inter"]["mean"] == inter["mean"]


def test_inspect_lists_the_splits(half: Path, zse: Zse) -> None:
    said = json.loads(zse("inspect", "zse/datasets/three.h5", "--json").ok())["splits"]
    assert said["zs-inter"] == "6 sketches, 8 photos, 1 classes"
    assert said["generalized"] == "6 sketches, 24 photos, 1 classes"
    assert {"zs-intra", "zs-cross", "zs-cross-all"} <= set(said)


def test_read_gives_one_listing(pictures: Path) -> None:
    found = read(pictures)
    assert (len(found.entries), found.skipped, found.partition, found.flags) == (42, [], "", {})
