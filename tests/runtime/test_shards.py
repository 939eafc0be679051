"""Work shared out: however many processes there are, the same store comes out."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from helpers.commands import Zse, call
from helpers.demo import DEMO
from helpers.stores import have_same_datasets, read_datasets
from helpers.tiny import SELECTING, build
from helpers.warm import commands, together
from zsecli.model import checkpoint
from zsecli.retrieval import extract, rank
from zsecli.runtime.files import partial_path
from zsecli.runtime.shards import Shard
from zsecli.store.features import FeatureWriter, open_features
from zsecli.store.shards import merge_shards


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder with tiny.safetensors, its features of `pictures` and two rankings of them. Not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    checkpoint.save(build(SELECTING), folder / "tiny.safetensors")
    call(folder, "prepare", "folder", pictures).ok()
    call(folder, "embed", "--model", "tiny.safetensors", "-o", "features.h5").ok()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank, "queries_per_block", lambda *_: 4)
        for by in ("rn", "cascade"):
            call(folder, "match", "features.h5", "--by", by, "--shortlist", 6, "-o", f"{by}.h5").ok()
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """The test's own copy, without what is to be made again."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("rn.h5", "cascade.h5"))
    return tmp_path


@pytest.mark.parametrize("of", [2, 3, 30])
def test_shards_of_features(zse: Zse, folder: Path, whole: Path, of: int) -> None:
    words = ["embed", "--model", "tiny.safetensors", "-o", "new.h5"]
    for number in range(of, 1, -1):
        said = zse(*words, "--shard", f"{number}/{of}").ok()
        assert said in (("", "new.h5") if of == 30 else ()) or said == f"new.{number}-of-{of}.h5"
    assert zse(*words, "--shard", f"1/{of}").ok() == "new.h5"  # the last to be done puts them together
    assert have_same_datasets(folder / "new.h5", whole / "features.h5")
    assert not list(folder.glob("new.*-of-*"))
    assert zse(*words, "--shard", f"2/{of}").ok() == "new.h5"  # up to date


@pytest.mark.parametrize("by", ["rn", "cascade"])
@pytest.mark.parametrize("of", [2, 3])
def test_shards_of_a_ranking(
    zse: Zse, folder: Path, whole: Path, by: str, of: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank, "queries_per_block", lambda *_: 4)
    for number in range(1, of + 1):
        zse("match", "features.h5", "--by", by, "--shortlist", 6, "-o", "new.h5", "--shard", f"{number}/{of}").ok()
    assert have_same_datasets(folder / "new.h5", whole / f"{by}.h5")


def test_a_shard_of_other_inputs_is_not_taken(zse: Zse, folder: Path, whole: Path) -> None:
    words = ["embed", "--model", "tiny.safetensors", "-o", "new.h5"]
    zse(*words, "--shard", "1/2").ok()
    zse("embed", "--model", "pixels", "-o", "new.h5", "--shard", "2/2").ok()
    assert not (folder / "new.h5").exists()
    zse(*words, "--shard", "2/2").ok()
    assert have_same_datasets(folder / "new.h5", whole / "features.h5")


def test_a_shard_goes_on_with_another_batch_size(
    zse: Zse, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["embed", "--model", "tiny.safetensors", "-o", "new.h5", "--shard"]
    monkeypatch.setattr(extract, "COMMIT", 4)
    original = FeatureWriter.commit

    def stop(self: FeatureWriter, rows: int) -> None:
        original(self, rows)
        if rows == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(FeatureWriter, "commit", stop)
    assert zse(*words, "1/2").code == 130
    monkeypatch.setattr(FeatureWriter, "commit", original)
    zse(*words, "1/2", "--batch-size", "7").ok()
    assert zse(*words, "2/2").ok() == "new.h5"
    ours, theirs = (read_datasets(path)["ret"] for path in (folder / "new.h5", whole / "features.h5"))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_an_interrupted_join_goes_on(zse: Zse, folder: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["embed", "--model", "tiny.safetensors", "-o", "new.h5"]
    zse(*words, "--shard", "1/2").ok()
    original, taken = FeatureWriter.append, list[Path]()

    def stop(self: FeatureWriter, path: Path, kind: str, rows: slice) -> None:
        if taken:
            raise KeyboardInterrupt
        taken.append(path)
        original(self, path, kind, rows)

    monkeypatch.setattr(FeatureWriter, "append", stop)
    assert zse(*words, "--shard", "2/2").code == 130
    assert partial_path(folder / "new.h5").is_file()
    monkeypatch.setattr(FeatureWriter, "append", original)
    assert zse(*words, "--shard", "1/2").ok() == "new.h5"
    assert have_same_datasets(folder / "new.h5", whole / "features.h5")


def test_a_join_that_was_stopped_when_all_was_done_leaves_no_shards(
    zse: Zse, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["embed", "--model", "tiny.safetensors", "-o", "new.h5", "--shard"]
    zse(*words, "1/2").ok()
    original = FeatureWriter.finish

    def stop(self: FeatureWriter, is_shard: bool = False) -> Path:
        path = original(self, is_shard)
        if path.name == "new.h5":
            raise KeyboardInterrupt
        return path

    monkeypatch.setattr(FeatureWriter, "finish", stop)
    assert zse(*words, "2/2").code == 130
    monkeypatch.setattr(FeatureWriter, "finish", original)
    assert (folder / "new.h5").is_file() and len(list(folder.glob("new.*-of-*"))) == 2
    assert zse(*words, "2/2").ok() == "new.h5"
    assert not list(folder.glob("new.*-of-*"))


def test_several_that_are_last(folder: Path, whole: Path) -> None:
    """One of them puts the shards together, and all say that it is done."""
    with open_features(whole / "features.h5") as features:
        items = features.items

    def make(number: int) -> None:
        shard = Shard(number, 2)
        some = items.take(np.arange(42)[shard.rows(42, 1)])
        with FeatureWriter(shard.path(folder / "new.h5"), shard.key("k"), {}, some, 8, 0, None) as w:
            w.write(some.id, [""] * 21, np.ones((21, 8), np.float32))
            w.finish()

    for number in (1, 2):
        make(number)

    def join_(number: int) -> bool:
        output = folder / "new.h5"
        return merge_shards(
            Shard(number, 2),
            output,
            "features",
            "k",
            42,
            1,
            lambda _: FeatureWriter(output, "k", {}, items, 8, 0, None),
        )

    for _ in range(3):
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(join_, [1, 2] * 4))
        make(2)  # by a process that began before all was put together, and ends after it
        assert join_(2)
    with h5py.File(folder / "new.h5") as file:
        assert file["ret"].shape == (42, 8) and (file["ret"][:] == 1).all()
    assert not list(folder.glob("new.*-of-*")) and not list(folder.glob(".*lock"))


def test_a_shard_of_which_no_picture_can_be_read(zse: Zse, folder: Path) -> None:
    """It is a part like any other: its pictures are listed as skipped."""
    picture = next((DEMO / "sketch").rglob("*.png"))
    for name in "abcd":
        (folder / f"{name}.png").write_bytes(picture.read_bytes()[:-200])
    bad = [f"{name}.png" for name in "abcd"]
    words = ["embed", *bad, picture, "--model", "tiny.safetensors", "--modality", "photo", "-o", "new.h5"]
    zse(*words, "--shard", "2/2").ok()
    assert zse(*words, "--shard", "2/2", "--json").out.count('"fresh": false') == 1
    done = zse(*words, "--shard", "1/2")
    assert (done.code, done.out) == (4, "new.h5\n")
    assert done.err.count("skipped:") == 4


def test_shards_of_which_no_picture_at_all_can_be_read(zse: Zse, folder: Path) -> None:
    picture = next((DEMO / "sketch").rglob("*.png"))
    for number in range(8):
        (folder / f"{number}.png").write_bytes(picture.read_bytes()[:-200])
    words = ["embed", *(f"{n}.png" for n in range(8)), "--model", "tiny.safetensors", "--modality", "photo"]
    assert zse(*words, "-o", "new.h5", "--shard", "1/2").code == 4
    zse(*words, "-o", "new.h5", "--shard", "2/2").refused(1, "no picture can be used")
    assert not (folder / "new.h5").exists()


def test_invalid_shards_are_refused(zse: Zse, folder: Path) -> None:
    for text in ("3/2", "0/2", "1", "a/b", "1/2/3"):
        zse("embed", "--shard", text).refused(2, "--shard", text)
    zse("embed", "--shard", "1/2", WORLD_SIZE="2", RANK="0", MASTER_ADDR="x", MASTER_PORT="1").refused(
        2, "torchrun", "leave out one"
    )
    zse("match", "--shard", "1/2", "--format", "tsv").refused(2, "--shard", "--format")
    zse("match", "--shard", "1/2", "--model", "pixels").refused(2, "features of all pictures", "zse embed")


@pytest.mark.xdist_group("faults")
def test_processes_that_run_together(folder: Path, whole: Path) -> None:
    """Two, as torchrun begins them, embed and rank; one of them says where the ranking is."""
    words = "match --model tiny.safetensors --by cascade --shortlist 6"
    together(commands, folder, f"{words} -o new.h5")
    assert [(folder / f"{rank}.out").read_text() for rank in "01"] == ["new.h5\n", ""]
    call(folder, *words.split(), "-o", "one.h5").ok()
    assert have_same_datasets(folder / "new.h5", folder / "one.h5")
    (features,) = folder.glob("zse/features/*.h5")
    assert have_same_datasets(features, whole / "features.h5")


def test_every_row_is_in_one_shard() -> None:
    for count, step, of in ((0, 4, 2), (1, 4, 3), (41, 4, 3), (100, 7, 100)):
        rows = [row for n in range(1, of + 1) for row in range(count)[Shard(n, of).rows(count, step)]]
        assert rows == list(range(count))
