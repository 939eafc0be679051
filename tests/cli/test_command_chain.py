"""The commands one after the other in a workspace: what is there is used, what changed is noticed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers.commands import Zse
from helpers.files import files
from helpers.stores import have_same_datasets, read_datasets
from zsecli.cli.embed import MODALITY_CHOICES, PART_CHOICES
from zsecli.data.items import MODALITIES, PARTS, Items
from zsecli.evaluate.protocols import SPLITS
from zsecli.vocabulary import COLUMNS


def test_bare_commands_find_what_the_last_one_made(zse: Zse, tmp_path: Path) -> None:
    assert zse("prepare", "demo").ok() == "zse/datasets/demo.h5"
    assert zse("embed").ok() == "zse/features/demo.unseen.pixels.h5"
    assert zse("match", "--by", "ret").ok() == "zse/rankings/demo.unseen.pixels.ret.h5"
    inter, intra = zse("evaluate").ok(), zse("evaluate", "--split", "zs-intra").ok()
    assert "zs-inter (same class, all unseen photos): 196 queries, 263.0 photos a query" in inter
    assert "| mAP (raw) |" in inter
    assert "zs-intra/class" in intra
    assert "zs-intra/all" in intra
    # a workspace of three stores and nothing beside them: no temporary file is left
    assert len(files(tmp_path)) == 3


def test_evaluate_alone_makes_what_is_missing(zse: Zse, pictures: Path, prepared: Path, tmp_path: Path) -> None:
    zse("prepare", "folder", pictures).ok()
    assert "mAP (raw)" in zse("evaluate").ok()
    made = [f.relative_to(tmp_path) for f in files(tmp_path)]
    assert made == [f.relative_to(prepared) for f in files(prepared)]
    for file in made:
        assert have_same_datasets(tmp_path / file, prepared / file)


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "folder", "{pictures}"),
        ("embed",),
        ("embed", "--batch-size", "5", "--device", "cpu", "--workers", "1"),
        ("match",),
        ("match", "--by", "ret", "--shortlist", "7", "--top", "2"),
        ("evaluate",),
        ("evaluate", "--seed", "3", "--split", "zs-intra", "--per-class"),
        ("match", "zse/features/pictures.unseen.pixels.h5"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("no_model")
def test_a_stage_that_is_done_computes_nothing(zse: Zse, ready: Path, pictures: Path, words: tuple[str, ...]) -> None:
    before = files(ready)
    zse(*(word.format(pictures=pictures) for word in words)).ok()
    assert files(ready) == before


def test_an_up_to_date_chain_never_loads_torch(shell: Zse, ready: Path, pictures: Path, light: str) -> None:
    before = files(ready)
    script = f"zse prepare folder '{pictures}' && zse embed && zse match && zse evaluate && zse inspect zse/features/*"
    assert shell(script, PYTHONPATH=light).err == ""
    assert files(ready) == before


def test_other_settings_make_another_ranking(zse: Zse, ready: Path) -> None:
    plain = "zse/rankings/pictures.unseen.pixels.ret.h5"
    centred, others = zse("match", "--center").ok(), zse("match", "--ignore-same", "label").ok()
    assert len({plain, centred, others}) == 3
    with h5py.File(ready.parent / others) as file:  # 8 of the 24 photos are of a sketch's own class
        assert (np.sum(file["indices"][:] >= 0, axis=1) == 16).all()
    assert not np.array_equal(*(read_datasets(ready.parent / path)["scores"] for path in (plain, centred)))


def test_another_model_makes_other_features(zse: Zse, ready: Path) -> None:
    assert zse("embed", "--model", "hog").ok() == "zse/features/pictures.unseen.hog.h5"
    assert zse("match", ZSE_MODEL="hog").ok() == "zse/rankings/pictures.unseen.hog.ret.h5"


def test_a_changed_picture_is_noticed(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(pictures, tmp_path / "tree"))
    zse("prepare", "folder", tree).ok()
    ranking = tmp_path / zse("match").ok()
    before = read_datasets(ranking)
    one, other = sorted((tree / "photo" / "drink").iterdir())[:2]
    shutil.copy(other, one)
    zse("match").refused(1, str(one), "changed since the list was made", "zse prepare")  # though all is cached
    # the old list and new features do not go together
    zse("embed", "--model", "hog").refused(1, str(one), "changed since the list was made", "zse prepare")
    zse("prepare", "folder", tree).ok()
    assert tmp_path / zse("match").ok() == ranking
    after = read_datasets(ranking)
    assert before["run-key"] != after["run-key"]
    assert not np.array_equal(before["scores"], after["scores"])


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_an_error_in_a_worker_is_one_line_too(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(pictures, tmp_path / "tree"))
    zse("prepare", "folder", tree).ok()
    gone = next((tree / "photo" / "drink").iterdir())
    gone.unlink()
    zse("embed", "--workers", "1").refused(1, str(gone), "No such file", "make the list again")


def test_a_removed_and_an_added_picture_are_noticed(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(pictures, tmp_path / "tree"))
    photo = next((tree / "photo" / "lock").iterdir())
    for added, count in ((None, 42), (False, 41), (True, 42)):
        if added is not None:
            shutil.copy(pictures / photo.relative_to(tree), photo) if added else photo.unlink()
        zse("prepare", "folder", tree).ok()
        assert len(read_datasets(tmp_path / zse("embed").ok())["ret"]) == count


def test_the_data_set_prepared_last_is_the_default(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    def prepare(name: str) -> None:
        zse("prepare", "folder", pictures, "--name", name).ok()

    prepare("one")
    # stores made within one tick of a coarse clock have no order
    os.utime(tmp_path / "zse/datasets/one.h5", ns=(0, 0))
    prepare("two")
    assert "two" in zse("embed").ok()
    os.utime(tmp_path / "zse/datasets/two.h5", ns=(10**9, 10**9))
    prepare("one")  # up to date, and the last all the same
    assert "one" in zse("embed").ok()
    assert "two" in zse("embed", "--data", "two").ok()
    zse("embed", "--data", "onee").refused(1, "no data set 'onee'", "did you mean 'one'?")


def test_another_folder_of_the_same_name_is_not_lost(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    zse("prepare", "folder", pictures).ok()
    other = shutil.copytree(pictures, tmp_path / "pictures")
    before = files(tmp_path / "zse")
    zse("prepare", "folder", other).refused(2, str(pictures), "--name")
    assert files(tmp_path / "zse") == before
    zse("prepare", "folder", other, "--overwrite").ok()
    zse("prepare", "folder", pictures, "--name", "first").ok()


@pytest.mark.parametrize(
    ("words", "others"),
    [
        (("prepare", "folder", "{pictures}", "-o", "x.h5"), ("prepare", "demo", "-o", "x.h5")),
        (("embed", "-o", "x.h5"), ("embed", "--model", "hog", "-o", "x.h5")),
        (("match", "-o", "x.h5"), ("match", "-o", "x.h5", "--depth", "3")),
    ],
    ids=["prepare", "embed", "match"],
)
@pytest.mark.usefixtures("ready")
def test_another_content_is_replaced_only_when_asked(
    zse: Zse, pictures: Path, tmp_path: Path, words: tuple[str, ...], others: tuple[str, ...]
) -> None:
    first = [word.format(pictures=pictures) for word in words]
    assert zse(*first).ok() == "x.h5"
    before = files(tmp_path)
    assert zse(*first).ok() == "x.h5"
    zse(*others).refused(2, "x.h5", "--overwrite")
    assert files(tmp_path) == before
    assert zse(*others, "--overwrite").ok() == "x.h5"
    assert files(tmp_path) != before


@pytest.mark.usefixtures("ready")
def test_files_that_are_no_stores_are_not_replaced_without_overwrite(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    zse("embed", "-o", "notes.txt").refused(2, "notes.txt")
    zse("match", "-o", "zse").refused(2, "is a folder")
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "words",
    [
        ("prepare", "demo"),
        ("embed",),
        ("embed", "--model", "hog"),
        ("embed", "sketch.png"),
        ("match", "--center"),
        ("match", "--model", "hog"),
        ("evaluate", "--model", "hog", "-o", "report.json", "--trec", "trec"),
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("no_model", "ready", "sketch")
def test_a_dry_run_says_what_would_be_and_writes_nothing(zse: Zse, tmp_path: Path, words: tuple[str, ...]) -> None:
    before = files(tmp_path)
    done = zse(*words, "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert "to " in done.err
    assert files(tmp_path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sketch.png", "zse"]


def test_the_workspace_lies_where_it_is_told(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    prepare = ("prepare", "folder", pictures)
    assert zse(*prepare, ZSE_WORKSPACE="by env").ok() == "by env/datasets/pictures.h5"
    assert zse(*prepare, "--workspace", "typed", ZSE_WORKSPACE="by env").ok() == "typed/datasets/pictures.h5"
    assert zse("embed", ZSE_WORKSPACE="by env").ok() == "by env/features/pictures.unseen.pixels.h5"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["by env", "typed"]


@pytest.mark.usefixtures("ready", "sketch")
def test_json_is_one_object_with_the_path(zse: Zse, pictures: Path) -> None:
    for words, fresh in (
        (("prepare", "folder", pictures), False),
        (("embed",), False),
        (("embed", "sketch.png"), True),
        (("match", "--center"), True),
    ):
        result = json.loads(zse(*words, "--json").ok())
        report = {"report": result["report"]} if words[0] == "prepare" else {}
        counts = {"passed_over": {}} if words[0] != "match" else {}
        assert result == {"path": result["path"], "fresh": fresh, "skipped": [], **counts, **report}
        assert json.loads(zse("inspect", result["path"], "--json").ok())["file"] == result["path"]
    report = json.loads(zse("evaluate", "--json").ok())
    assert report["split"] == "zs-inter"
    assert report["protocols"]["zs-inter"]["queries"] == 18


@pytest.mark.usefixtures("ready")
def test_hits_as_tsv_and_as_json_are_the_same(zse: Zse) -> None:
    table = [line.split("\t") for line in zse("match", "--top", "3", "--format", "tsv").ok().splitlines()]
    lines = [json.loads(line) for line in zse("match", "--top", "3", "--format", "json").ok().splitlines()]
    assert len(table) == len(lines) == 18 * 3
    for (query, rank, score, photo), hit in zip(table, lines, strict=True):
        assert (query, int(rank), photo) == (hit["query"], hit["rank"], hit["photo"])
        assert float(score) == pytest.approx(hit["score"], abs=1e-6)
    assert [hit["rank"] for hit in lines[:3]] == [1, 2, 3]
    assert lines[0]["score"] >= lines[1]["score"] >= lines[2]["score"]


@pytest.mark.usefixtures("ready")
def test_a_path_may_come_through_the_pipe(zse: Zse) -> None:
    ranking, features = "zse/rankings/pictures.unseen.pixels.ret.h5", "zse/features/pictures.unseen.pixels.h5"
    assert zse("evaluate", "-", stdin=f"{ranking}\n".encode()).ok() == zse("evaluate", ranking).ok()
    assert zse("inspect", "-", stdin=ranking.encode()).ok() == zse("inspect", ranking).ok()
    two = zse("match", "-", "-", "-o", "x.h5", stdin=f"{features}\n{features}\n".encode())
    assert two.ok() == "x.h5"


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # newer Pythons on forking beside threads
def test_how_pictures_are_read_does_not_matter(zse: Zse, ready: Path, tmp_path: Path) -> None:
    for size, workers in ((1, 0), (5, 2), (64, 2)):
        zse("embed", "--batch-size", size, "--workers", workers, "-o", "x.h5", "--overwrite").ok()
        assert have_same_datasets(tmp_path / "x.h5", ready / "features" / "pictures.unseen.pixels.h5")
        (tmp_path / "x.h5").unlink()


def test_choices_shown_are_those_there_are() -> None:
    # spelled out in the command line, which must not load the stages to show its help
    assert COLUMNS == Items.COLUMNS
    assert set(PART_CHOICES) == {*PARTS, "all"}
    assert set(MODALITY_CHOICES) == {*MODALITIES, "auto"}
    assert {"zs-inter", "zs-intra"} <= SPLITS.keys()
