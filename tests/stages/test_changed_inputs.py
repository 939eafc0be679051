"""What changed since a result was made: pictures, models and places. Their content decides, and every hint works."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from helpers.commands import Done, Zse, call
from helpers.demo import some_pictures
from helpers.stores import read_datasets
from helpers.tiny import LEAST, STILL, build
from zsecli.data.dataset import Dataset
from zsecli.data.hashing import ChangedPicture
from zsecli.data.items import SEEN, UNSEEN
from zsecli.data.sources.folder import read
from zsecli.model import checkpoint
from zsecli.model.config import PRESETS
from zsecli.runtime.console import Progress
from zsecli.stages.prepare_listing import prepare_listing
from zsecli.store.dataset import read_dataset
from zsecli.store.hdf5 import open_store
from zsecli.train.batches import TrainingPictures
from zsecli.train.config import TrainConfig
from zsecli.train.job import TrainingJob, TrainResult, train_network
from zsecli.train.validate import select_rows

Change = Callable[[Path], object]


def replace_by_noise(file: Path) -> None:
    """Another picture of another size."""
    Image.effect_noise((90, 70), 90).convert("RGB").save(file, "PNG")


def change_alike(file: Path) -> None:
    """Another picture of the same size and time."""
    stat, data = file.stat(), bytearray(file.read_bytes())
    assert data[:2] == b"BM"
    data[-3000:] = bytes(3000)
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)


CHANGES: list[Change] = [replace_by_noise, change_alike]
changes = pytest.mark.parametrize("change", CHANGES)


def plain_tree(root: Path, labels: tuple[str, ...] = ("cat", "cup")) -> Path:
    """A tree of such classes with 3 sketches and 3 photos each, as BMP: pictures of one size have files of one size."""
    for label in labels:
        for modality in ("sketch", "photo"):
            folder = root / modality / label
            folder.mkdir(parents=True)
            for number in range(3):
                image = np.full((40, 40, 3), 255, np.uint8)
                image[5 + 9 * number : 8 + 9 * number, 3:30] = (0, 0, 0) if modality == "sketch" else (200, number, 0)
                image[3:30, 6 + 8 * labels.index(label)] = 0
                Image.fromarray(image).save(folder / f"{number}.bmp")
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plain_tree(tmp_path / "pics")


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A checkpoint small enough to be quick, which can explain."""
    return checkpoint.save(build(LEAST), tmp_path / "net.safetensors")


@pytest.fixture
def ranking(tmp_path: Path, tree: Path, network: Path) -> Path:
    """The ranking of `tree` by `network`, both relative to the test's folder."""
    call(tmp_path, "prepare", "folder", "pics").ok()
    return Path(call(tmp_path, "match", "--data", "pics", "--model", "net.safetensors").ok())


def follow(folder: Path, done: Done, **words: str) -> None:
    """Type what a hint says, with `words` for its placeholders; every command must work."""
    (hint,) = re.findall(r"^(?:hint|warning): (.*)$", done.err, re.MULTILINE)
    for name, value in words.items():
        hint = hint.replace(name, value)
    commands = re.findall(r"zse (?:prepare|embed|match|evaluate) [^;]*?(?= says |, with |;|\)|$)", hint)
    assert commands, hint
    for command in commands:
        result = call(folder, *shlex.split(command)[1:])
        assert result.code == 0, (command, result.err)


def first_photo(folder: Path, ranking: Path) -> tuple[str, str]:
    """The first query of a ranking, and its first photo."""
    with h5py.File(folder / ranking) as file:
        names = file["gallery/id"].asstr()[:]
        return file["query/id"].asstr()[0], names[file["indices"][0, 0]]


# --- pictures behind a ranking ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "which"), [(CHANGES[0], "sketch"), (CHANGES[1], "photo")])
def test_a_picture_that_changed_is_not_explained(
    zse: Zse, tmp_path: Path, tree: Path, ranking: Path, change: Change, which: str
) -> None:
    query, photo = first_photo(tmp_path, ranking)
    file = tree / (query if which == "sketch" else photo)
    words = ("--ranking", ranking, "--query", query)
    assert zse("explain", *words, "-o", "before").code == 0
    change(file)
    for command in ("explain", "synthesize"):
        done = zse(command, *words, "-o", "after.png")
        done.refused(1, str(file), "changed since it was ranked", str(ranking))
        assert not [*tmp_path.glob("after*")]
    follow(tmp_path, done)
    with h5py.File(tmp_path / ranking) as store:  # it holds the new picture, and another photo may be the first
        rows = store["query" if which == "sketch" else "gallery"]
        at = rows["id"].asstr()[:].tolist().index(file.relative_to(tree).as_posix())
        assert rows["sha256"][at].tobytes().hex() == sha256(file)
    assert zse("explain", *words, "-o", "after").code == 0


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_other_ranks_and_queries_can_still_be_explained(zse: Zse, tmp_path: Path, tree: Path, ranking: Path) -> None:
    """Only the pictures that are shown are looked at."""
    query, photo = first_photo(tmp_path, ranking)
    replace_by_noise(tree / photo)
    (tree / "sketch/cup/2.bmp").unlink()
    assert zse("explain", "--ranking", ranking, "--query", query, "--rank", "2..3", "-o", "other").code == 0
    zse("explain", "--ranking", ranking, "--query", query, "--rank", "1..3").refused(1, photo)
    zse("synthesize", "--ranking", ranking, "--query", query, "--query", "cup/2.bmp").refused(1, photo)


def test_a_picture_that_is_gone_says_what_to_do(zse: Zse, tmp_path: Path, tree: Path, ranking: Path) -> None:
    query, photo = first_photo(tmp_path, ranking)
    (tree / photo).unlink()
    done = zse("explain", "--ranking", ranking, "--query", query)
    done.refused(1, photo, "No such file", "though it was ranked")
    follow(tmp_path, done)
    assert zse("explain", "--ranking", ranking, "--query", query).code == 0
    with h5py.File(tmp_path / ranking) as store:
        assert photo not in store["gallery/id"].asstr()[:]


@changes
def test_a_contrast_of_the_ranking_is_what_was_ranked(
    zse: Zse, tmp_path: Path, tree: Path, ranking: Path, change: Change
) -> None:
    query, photo = first_photo(tmp_path, ranking)
    other = next(file for file in sorted((tree / "photo/cup").iterdir()) if file != tree / photo)
    words = ("explain", "--ranking", ranking, "--query", query, "--contrast")
    change(other)
    zse(*words, other.relative_to(tmp_path)).refused(1, other.name, "changed since it was ranked")
    (tmp_path / "link").symlink_to(other)
    zse(*words, "link").refused(1, other.name, "changed since it was ranked")
    shutil.copy(other, tmp_path / "mine.bmp")  # a photo of one's own may be any
    assert zse(*words, "mine.bmp").code == 0


@changes
def test_a_sheet_leaves_out_what_changed(zse: Zse, tmp_path: Path, tree: Path, ranking: Path, change: Change) -> None:
    _, photo = first_photo(tmp_path, ranking)
    assert zse("evaluate", ranking, "--sheet", "before.png").err == ""
    change(tree / photo)
    done = zse("evaluate", ranking, "--sheet", "after.png")
    assert done.code == 0
    assert done.err.startswith("warning: ") and photo in done.err and "changed since it was ranked" in done.err
    before, after = (np.asarray(Image.open(tmp_path / name)) for name in ("before.png", "after.png"))
    rows, columns = np.nonzero((before != after).any(axis=2))
    assert len(rows)
    # paper and a word, where the photo was shown
    assert (after[rows, columns] >= 0x76).all()
    follow(tmp_path, done)
    assert zse("evaluate", ranking, "--sheet", "new.png").err == ""


@changes
def test_explanations_are_tested_on_what_was_ranked(
    zse: Zse, tmp_path: Path, tree: Path, ranking: Path, change: Change
) -> None:
    _, photo = first_photo(tmp_path, ranking)
    words = ("evaluate", ranking, "--explanations", "--explanation-pairs", 1)
    change(tree / photo)
    zse(*words).refused(1, photo, "changed since it was ranked")


def test_keypoints_of_the_ranking_are_on_what_was_ranked(zse: Zse, tmp_path: Path, tree: Path, ranking: Path) -> None:
    (tree / "marks.csv").write_text("photo,sketch,XA,YA,XB,YB\nphoto/cup/2.bmp,sketch/cup/2.bmp,5,5,6,6\n")
    words = ("evaluate", ranking, "--explanations", "--explanation-pairs", 1, "--keypoints", "pics/marks.csv")
    change_alike(tree / "photo/cup/2.bmp")
    zse(*words).refused(1, "photo/cup/2.bmp", "changed since it was ranked")


@changes
def test_pictures_given_one_by_one_are_what_was_ranked(
    zse: Zse, tmp_path: Path, tree: Path, network: Path, change: Change
) -> None:
    zse("embed", "pics/sketch/cat", "--modality", "sketch", "--model", network, "-o", "s.h5").ok()
    zse("embed", "pics/photo", "--modality", "photo", "--model", network, "-o", "p.h5").ok()
    ranking = Path(zse("match", "s.h5", "p.h5", "-o", "r.h5").ok())
    query, photo = first_photo(tmp_path, ranking)
    change(tmp_path / photo)
    done = zse("explain", "--ranking", ranking, "--query", query)
    done.refused(1, photo, "changed since it was ranked")
    follow(tmp_path, done)
    assert zse("explain", "--ranking", ranking, "--query", query).code == 0


def test_hints_work_from_another_folder(zse: Zse, tmp_path: Path, tree: Path, ranking: Path) -> None:
    """The commands are those that were typed, where they were typed."""
    query, photo = first_photo(tmp_path, ranking)
    change_alike(tree / photo)
    (tmp_path / "elsewhere").mkdir()
    words = ("explain", "--ranking", tmp_path / ranking, "--query", query)
    done = call(tmp_path / "elsewhere", *words)
    assert f"(cd {tmp_path} && zse prepare folder pics --overwrite); (cd {tmp_path} && zse match" in done.err
    follow(tmp_path, done)
    assert call(tmp_path / "elsewhere", *words).code == 0


def test_a_ranking_made_on_the_way_is_made_again(zse: Zse, tmp_path: Path, tree: Path, network: Path) -> None:
    """By `evaluate`, with a default model and data set, and options that write other files."""
    zse("prepare", "folder", "pics", "-q").ok()
    zse("evaluate", "-o", "report.json", "--sheet", "sheet.png", "--quiet", ZSE_MODEL="net.safetensors").ok()
    (ranking,) = (tmp_path / "zse/rankings").glob("*.h5")
    query, photo = first_photo(tmp_path, ranking)
    replace_by_noise(tree / photo)
    before = (tmp_path / "sheet.png").read_bytes()
    done = zse("explain", "--ranking", ranking, "--query", query)
    follow(tmp_path, done)
    assert zse("explain", "--ranking", ranking, "--query", query).code == 0
    assert (tmp_path / "sheet.png").read_bytes() == before


# --- pictures behind a data set --------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [(), ("--workers", "1")])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_picture_of_the_same_size_and_time(zse: Zse, tmp_path: Path, tree: Path, words: tuple[str, ...]) -> None:
    zse("prepare", "folder", "pics").ok()
    before = read_datasets(tmp_path / zse("embed").ok())
    change_alike(tree / "photo/cat/1.bmp")
    done = zse("embed", "-o", "other.h5", *words)
    done.refused(1, "photo/cat/1.bmp", "changed since the list was made", "zse prepare folder pics --overwrite")
    follow(tmp_path, done)
    zse("embed", "-o", "other.h5", *words).ok()
    assert read_datasets(tmp_path / zse("embed").ok())["run-key"] != before["run-key"]
    assert json.loads(zse("prepare", "folder", "pics", "--overwrite", "--json").ok())["fresh"] is False


def test_a_journal_of_the_same_size_and_time_is_not_trusted_either(zse: Zse, tmp_path: Path, tree: Path) -> None:
    zse("prepare", "folder", "pics").ok()
    old = read_dataset(tmp_path / "zse/datasets/pics.h5")
    lines = [[name, *stamp[:2], stamp[2].hex(), False] for name, stamp in old.stamps(old.items.id).items()]
    journal = tmp_path / "zse/datasets/pics.h5.hashes"
    journal.write_text("\n".join(map(json.dumps, [str(tree), *lines])))
    change_alike(tree / "photo/cat/1.bmp")
    zse("prepare", "folder", "pics", "--overwrite").ok()
    new = read_dataset(tmp_path / "zse/datasets/pics.h5")
    assert new.stamps(["photo/cat/1.bmp"])["photo/cat/1.bmp"][2].hex() == sha256(tree / "photo/cat/1.bmp")


@pytest.mark.parametrize("words", [("-o", "my data.h5"), ("--workspace", "my work"), ("--name", "other", "-q")])
def test_the_hint_names_the_store_and_the_workspace(
    zse: Zse, tmp_path: Path, tree: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "unseen.txt").write_text("cat\n")
    store = zse("prepare", "folder", "pics", "--unseen", "unseen.txt", *words).ok()
    change_alike(tree / "photo/cat/1.bmp")
    done = zse("embed", store, "-o", "f.h5")
    done.refused(1, "changed since the list was made")
    follow(tmp_path, done)
    zse("embed", store, "-o", "f.h5").ok()
    assert read_dataset(tmp_path / store).items.label.names == ["cat", "cup"]
    assert (read_dataset(tmp_path / store).parts() == SEEN).any()


def test_only_the_pictures_of_a_part_are_looked_at(zse: Zse, tmp_path: Path, tree: Path) -> None:
    """Neither changed nor fresh pictures of classes that nobody asked for are an error."""
    (tmp_path / "unseen.txt").write_text("cup\n")
    zse("prepare", "folder", "pics", "--unseen", "unseen.txt").ok()
    for file in (tree / "photo/cat").iterdir():
        replace_by_noise(file)
    for words in (("embed",), ("embed", "--part", "unseen"), ("embed", "--split", "zs-inter"), ("match",)):
        zse(*words).ok()
    zse("evaluate").ok()
    for words in (("embed", "--part", "seen"), ("embed", "--part", "all"), ("match", "--split", "generalized")):
        zse(*words).refused(1, "photo/cat", "changed since the list was made")


# --- places ----------------------------------------------------------------------------------------------------------


def move(tmp_path: Path) -> Path:
    return (tmp_path / "pics").rename(tmp_path / "new place")


def test_a_data_set_that_moved_says_where_it_is(zse: Zse, tmp_path: Path, ranking: Path) -> None:
    store = tmp_path / "zse/datasets/pics.h5"
    features = next((tmp_path / "zse/features").glob("*.h5"))
    before = {path: read_datasets(path) for path in (store, features, tmp_path / ranking)}
    query, _ = first_photo(tmp_path, ranking)
    new = move(tmp_path)
    gone = zse("explain", "--ranking", ranking, "--query", query)
    gone.refused(1, "No such file", "NEW_FOLDER")
    done = zse("prepare", "folder", new, "--name", "pics")
    assert done.code == 0
    assert str(new) in done.err and str(tmp_path / "pics") in done.err
    for words in (("embed", "--model", "net.safetensors"), ("match", "--model", "net.safetensors")):
        assert json.loads(zse(*words, "--json").ok())["fresh"] is False
    assert read_dataset(store).root == new
    with open_store(features) as file:
        assert json.loads(file["provenance"][()])["root"] == str(new)
    with open_store(tmp_path / ranking) as file:
        assert json.loads(file["provenance"][()])["roots"] == [str(new)] * 2
    for path in (features, tmp_path / ranking):  # nothing but that
        after = read_datasets(path)
        assert after.keys() == before[path].keys()
        assert all(np.array_equal(after[k], v) for k, v in before[path].items())
        assert json.loads(zse("inspect", path, "--verify", "--json").ok())["verified"]
    assert zse("explain", "--ranking", ranking, "--query", query).code == 0


def test_the_hint_of_a_data_set_whose_folder_is_gone(zse: Zse, tmp_path: Path, tree: Path) -> None:
    (tmp_path / "unseen.txt").write_text("cup\n")
    zse("prepare", "folder", "pics", "--unseen", "unseen.txt").ok()
    key = read_dataset(tmp_path / "zse/datasets/pics.h5").key()
    new = move(tmp_path)
    done = zse("embed")
    done.refused(1, f"{tmp_path / 'pics'}: is gone", "NEW_FOLDER", "--name pics", "--unseen unseen.txt")
    follow(tmp_path, done, NEW_FOLDER=shlex.quote(str(new)))
    assert read_dataset(tmp_path / "zse/datasets/pics.h5").key() == key
    zse("embed").ok()


def test_the_hint_of_a_manifest_whose_folder_is_gone(zse: Zse, tmp_path: Path, tree: Path) -> None:
    rows = [f"{f.relative_to(tree)},{f.parts[-3]},{f.parent.name}" for f in sorted(tree.rglob("*.bmp"))]
    (tree / "list.csv").write_text("\n".join(["path,modality,class", *rows]))
    zse("prepare", "folder", "pics/list.csv").ok()
    new = move(tmp_path)
    done = zse("embed")
    done.refused(1, "is gone", "NEW_FOLDER/list.csv")
    follow(tmp_path, done, NEW_FOLDER=str(new).replace(" ", "\\ "))
    zse("embed").ok()


def test_the_hint_of_a_ranking_whose_pictures_moved(zse: Zse, tmp_path: Path, ranking: Path) -> None:
    query, _ = first_photo(tmp_path, ranking)
    new = move(tmp_path)
    done = zse("explain", "--ranking", ranking, "--query", query)
    follow(tmp_path, done, NEW_FOLDER=shlex.quote(str(new)))
    assert zse("explain", "--ranking", ranking, "--query", query).code == 0


def test_another_content_does_not_take_the_place_of_what_moved(zse: Zse, tmp_path: Path, tree: Path) -> None:
    store = zse("prepare", "folder", "pics").ok()
    before = (tmp_path / store).read_bytes()
    new = move(tmp_path)
    (new / "photo/cat/1.bmp").unlink()
    zse("prepare", "folder", new, "--name", "pics").refused(2, "already holds something", "--overwrite")
    assert (tmp_path / store).read_bytes() == before
    zse("prepare", "folder", new, "--name", "pics", "--overwrite").ok()
    assert len(read_dataset(tmp_path / store).items) == 11


# --- models ----------------------------------------------------------------------------------------------------------


def save_folder(folder: Path, seed: int, mean: float = 0.5) -> Path:
    """A model as timm saves one: config.json and weights."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = timm.create_model("test_vit", num_classes=3)
    save_file(model.state_dict(), folder / "model.safetensors")
    about = {
        "mean": [mean] * 3,
        "std": [0.5] * 3,
        "input_size": [3, 160, 160],
        "num_classes": 3,
        "interpolation": "bicubic",
    }
    about |= {"first_conv": "patch_embed.proj", "classifier": "head", "crop_pct": 0.95, "pool_size": None}
    config = {"architecture": "test_vit", "num_classes": 3, "pretrained_cfg": about}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def same_stat(folder: Path, change: Callable[[Path], object]) -> None:
    """Change a folder's files, which keep their times."""
    times = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    change(folder)
    for file, time in times.items():
        os.utime(file, ns=(time, time))


OTHER_MODELS: dict[str, Change] = {
    "local-dir:m": lambda folder: save_folder(folder, 1),
    "local-dir:./lr=0.1/m": lambda folder: save_folder(folder, 0, mean=0.4),
    "LOCAL-DIR:m": lambda folder: same_stat(folder, lambda folder: save_folder(folder, 1)),
}


@pytest.mark.parametrize(("name", "change"), [*OTHER_MODELS.items()], ids=["weights", "config", "same time"])
def test_a_models_folder_is_known_by_its_content(
    zse: Zse, tmp_path: Path, sketch: Path, tree: Path, change: Change, name: str
) -> None:
    folder = save_folder(tmp_path / name.partition(":")[2], 0)
    words = ("embed", "pics/photo", "--modality", "photo", "--model", f"frozen:{name}", "--json", "-o", "p.h5")
    assert json.loads(zse(*words).ok())["fresh"]
    assert not json.loads(zse(*words).ok())["fresh"]
    (folder / "README.md").write_text("nothing that is loaded")
    assert not json.loads(zse(*words).ok())["fresh"]
    before = read_datasets(tmp_path / "p.h5")
    change(folder)
    zse(*words).refused(2, "p.h5", "other inputs or settings", "--overwrite")
    zse("embed", sketch, "--modality", "sketch", "--model", f"frozen:{name}", "-o", "s.h5").ok()
    done = zse("match", "s.h5", "p.h5", "--format", "tsv")
    done.refused(3, "different models", "changed in between")
    follow(tmp_path, done)
    zse("match", "s.h5", "p.h5").ok()
    assert not np.array_equal(read_datasets(tmp_path / "p.h5")["ret"], before["ret"])


def test_a_models_folder_may_move(zse: Zse, tmp_path: Path, tree: Path) -> None:
    save_folder(tmp_path / "m", 0)
    words = ("embed", "pics/photo", "--modality", "photo", "--json", "-o", "p.h5", "--model")
    zse(*words, "frozen:local-dir:m").ok()
    (tmp_path / "m").rename(tmp_path / "n")
    assert not json.loads(zse(*words, f"frozen:local-dir:{tmp_path}/n").ok())["fresh"]
    zse(*words, "frozen:local-dir:m").refused(3, "m: is no folder of a model", "config.json")
    zse(*words, "frozen:local-dir:").refused(2, "needs the name of a timm backbone")


def test_weights_beside_a_models_folder_count_with_it(zse: Zse, tmp_path: Path, tree: Path) -> None:
    save_folder(tmp_path / "m", 0)
    save_folder(tmp_path / "other", 1)
    words = ("embed", "pics/photo", "--modality", "photo", "-o", "p.h5", "--model")
    given = "frozen:local-dir:m=other/model.safetensors"
    zse(*words, given).ok()
    save_folder(tmp_path / "m", 0, mean=0.4)
    zse(*words, given).refused(2, "other inputs or settings")
    zse(*words, given, "--overwrite").ok()
    save_folder(tmp_path / "other", 2)
    zse(*words, given).refused(2, "other inputs or settings")


def test_a_hubs_cache_is_known_by_its_content(
    zse: Zse, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network: the cache is all there is."""
    cache = tmp_path / "hub/models--some--model"
    for revision, seed in (("1" * 40, 0), ("2" * 40, 1)):
        save_folder(cache / "snapshots" / revision, seed)
    (cache / "refs").mkdir()
    (cache / "refs/main").write_text("1" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    words = (
        "embed",
        "pics/photo",
        "--modality",
        "photo",
        "--model",
        "frozen:hf-hub:some/model",
        "--json",
        "-o",
        "p.h5",
    )
    assert json.loads(zse(*words).ok())["fresh"]
    assert not json.loads(zse(*words).ok())["fresh"]
    (cache / "refs/main").write_text("2" * 40)
    zse(*words).refused(2, "other inputs or settings")
    zse("embed", "pics", "--modality", "photo", "--model", "frozen:hf-hub:no/model").refused(3, "hf-hub:no/model")


def test_a_checkpoint_of_the_same_size_and_time(zse: Zse, tmp_path: Path, ranking: Path, network: Path) -> None:
    query, _ = first_photo(tmp_path, ranking)
    stat = network.stat()
    checkpoint.save(build(LEAST, 1), network)
    os.utime(network, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert network.stat().st_size == stat.st_size
    zse("explain", "--ranking", ranking, "--query", query).refused(3, "is no longer the model that made", "zse match")
    assert zse("match", "--model", "net.safetensors").ok() != str(ranking)


def test_a_project_that_moved_is_up_to_date(zse: Zse, tmp_path: Path) -> None:
    """Pictures, workspace and checkpoint together; explanations find them once each command has run again."""
    (tmp_path / "one").mkdir()
    plain_tree(tmp_path / "one/pics")
    checkpoint.save(build(LEAST), tmp_path / "one/net.safetensors")
    call(tmp_path / "one", "prepare", "folder", "pics").ok()
    ranking = Path(call(tmp_path / "one", "match", "--model", "net.safetensors").ok())
    here = (tmp_path / "one").rename(tmp_path / "two")
    words = ("explain", "--ranking", ranking, "--query", "cat/1.bmp", "-o", "e")
    done = call(here, *words)
    done.refused(1, "No such file", "NEW_FOLDER")
    follow(here, done, NEW_FOLDER="pics")
    assert call(here, *words).code == 0
    assert json.loads(call(here, "match", "--model", "net.safetensors", "--json").ok())["fresh"] is False


def test_a_model_that_moved(zse: Zse, tmp_path: Path, ranking: Path, network: Path) -> None:
    words = ("explain", "--ranking", ranking, "--query", "cat/1.bmp", "-o", "e")
    moved = network.rename(tmp_path / "moved.safetensors")
    zse(*words).refused(3, "net.safetensors: no such weights", str(ranking), "--model FILE")
    features = next((tmp_path / "zse/features").glob("*.h5"))
    zse("embed", "--model", moved, "-o", features).ok()
    zse("match", features, "-o", ranking).ok()
    assert zse(*words).code == 0


# --- training --------------------------------------------------------------------------------------------------------

SHORT = TrainConfig(seed=1, epochs=2, epoch_draws=16, batch_size=8, hard_negatives=True, lr=1e-3, head_lr=1e-3)
UNSEEN_CLASS = "lock"


@pytest.fixture
def seen(tmp_path: Path) -> Dataset:
    """A data set of the test's own, of three classes, one of which is unseen."""
    tree = some_pictures(tmp_path / "tree")
    prepare_listing(read(tree, unseen=[UNSEEN_CLASS]), tmp_path / "tree.h5", "tree")
    return read_dataset(tmp_path / "tree.h5")


def train(data: Dataset, folder: Path, config: TrainConfig = SHORT, **more: Any) -> TrainResult:
    job = TrainingJob(dataset=data, model=STILL, config=config, pretrained=False)
    return train_network(job, folder / "net.safetensors", folder / "cache", device="cpu", **more)


def read_by_training(data: Dataset) -> list[str]:
    used, held = select_rows(data)
    rows = {*used.tolist(), *(row for one in held for rows in (one.sketches, one.photos) for row in rows.tolist())}
    return [data.items.id[row] for row in sorted(rows)]


@pytest.mark.parametrize("change", [replace_by_noise, Path.unlink], ids=["changed", "gone"])
def test_unseen_pictures_are_not_looked_at(
    seen: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    """Not even where the times of all files are new, as in a copy."""
    for row, name in enumerate(seen.items.id):
        os.utime(seen.root / name)
        if seen.parts()[row] == UNSEEN:
            change(seen.root / name)
    opened: list[Path] = []
    original = Path.open

    def spy(self: Path, *words: Any, **more: Any) -> Any:
        opened.append(self)
        return original(self, *words, **more)

    monkeypatch.setattr(Path, "open", spy)
    assert train(seen, tmp_path).fresh
    classes = {path.parent.name for path in opened if path.is_relative_to(seen.root)}
    assert classes and UNSEEN_CLASS not in classes
    opened.clear()
    assert not train(seen, tmp_path).fresh
    assert not any(UNSEEN_CLASS in path.parts for path in opened)


class Changing(Progress):
    """Changes the pictures of a data set once training has done a step."""

    def __init__(self, change: Callable[[], object]) -> None:
        super().__init__()
        self.change: Callable[[], object] | None = change
        self.steps = 0

    def start(self, total: int) -> None:
        self.steps = total

    def __call__(self, count: int) -> None:
        if count and self.steps == SHORT.steps and self.change is not None:
            self.change()
            self.change = None


@pytest.mark.parametrize("config", [SHORT, dataclasses.replace(SHORT, freeze_blocks=0)], ids=["held", "cached"])
def test_pictures_that_change_under_a_run_are_noticed(seen: Dataset, tmp_path: Path, config: TrainConfig) -> None:
    names = read_by_training(seen)

    def change() -> None:
        for name in names:
            replace_by_noise(seen.root / name)

    with pytest.raises(ChangedPicture, match="changed since the list was made"):
        train(seen, tmp_path, config, progress=Changing(change))
    with pytest.raises(ChangedPicture, match="changed since the list was made"):  # going on is no way around it
        train(seen, tmp_path, config)


@changes
def test_a_picture_is_what_was_listed_whenever_it_is_read(tmp_path: Path, tree: Path, change: Change) -> None:
    prepare_listing(read(tree), tmp_path / "t.h5", "t")
    data = read_dataset(tmp_path / "t.h5")
    pictures = TrainingPictures(data.items, data.root, LEAST.preprocess, stamps=[*data.stamps(data.items.id).values()])
    pictures.cache_bytes = 0
    pictures.load_pixels(1)
    os.utime(data.root / data.items.id[1])  # a new time is no change
    pictures.load_pixels(1)
    change(data.root / data.items.id[1])
    with pytest.raises(ChangedPicture, match=data.items.id[1]):
        pictures.load_pixels(1)
    pictures.load_pixels(0)


@pytest.fixture
def trainable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tree of the data set `pics`, of two seen classes and the unseen `cup`; there is a preset `tiny`."""
    monkeypatch.setitem(PRESETS, "tiny", STILL)
    (tmp_path / "unseen.txt").write_text("cup\n")
    tree = plain_tree(tmp_path / "pics", ("cat", "cup", "hat"))
    call(tmp_path, "prepare", "folder", "pics", "--unseen", "unseen.txt").ok()
    return tree


RUN = ("train", "pics", "--preset", "tiny", "--scratch", "--epochs", "1", "--epoch-draws", "4", "--batch-size", "4")


@changes
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_the_hint_of_a_training_run(zse: Zse, tmp_path: Path, trainable: Path, change: Change) -> None:
    for file in (trainable / "photo/cat").iterdir():
        change(file)
    done = zse(*RUN, "--workers", "1")
    done.refused(1, "photo/cat", "changed since the list was made", "zse prepare folder pics")
    follow(tmp_path, done)
    zse(*RUN).ok()


def test_a_finished_run_on_other_pictures_is_not_up_to_date(zse: Zse, trainable: Path) -> None:
    zse(*RUN).ok()
    replace_by_noise(trainable / "photo/cat/1.bmp")
    zse(*RUN).refused(1, "photo/cat/1.bmp", "changed since the list was made")


def test_training_where_the_folder_is_gone(zse: Zse, tmp_path: Path, trainable: Path) -> None:
    new = move(tmp_path)
    done = zse(*RUN)
    done.refused(1, f"{trainable}: is gone", "NEW_FOLDER")
    follow(tmp_path, done, NEW_FOLDER=shlex.quote(str(new)))
    zse(*RUN).ok()
