"""What is written into a store is read from it, to the last bit; what cannot be stored is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from zsecli.data.dataset import Dataset
from zsecli.data.items import Column, Items
from zsecli.errors import ZseError
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.extract import features_key
from zsecli.runtime.files import partial_path
from zsecli.runtime.fingerprint import run_key
from zsecli.store.dataset import read_dataset, write_dataset
from zsecli.store.features import FeatureWriter, open_features, read_skipped
from zsecli.store.ranking import RankingWriter, open_ranking

pytestmark = pytest.mark.fast

NAMES = ["a b.png", "ü/ß 猫.jpg", "new\nline.png", "tab\t.png", "\"'`$%\\.png", "🙂" * 50 + ".png", " .png", "e\u0301"]


def items(count: int) -> Items:
    """Pictures whose names are awkward, some without class, instance or family."""
    ids = [NAMES[i] if i < len(NAMES) else f"{i}.png" for i in range(count)]
    values = [None if i % 3 == 0 else ids[i] for i in range(count)]
    return Items(
        id=ids,
        modality=(np.arange(count) % 2).astype(np.uint8),
        part=(np.arange(count) % 3 - 1).astype(np.int8),
        sha256=np.random.default_rng(0).integers(0, 256, (count, 32), dtype=np.uint8),
        label=Column.from_values(values),
        instance=Column(np.full(count, -1, np.int32), ["an object without a picture"]),
        family=Column.from_values([None] * count),
    )


def same(a: Items, b: Items) -> bool:
    for name in ("modality", "part", "sha256"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert getattr(a, name).dtype == getattr(b, name).dtype
    for name in Items.COLUMNS:
        one, other = getattr(a, name), getattr(b, name)
        np.testing.assert_array_equal(one.codes, other.codes)
        assert one.names == other.names
    return a.id == b.id


def dataset(count: int, **other: Any) -> Dataset:
    times = np.arange(count, dtype=np.int64) + 2**60
    report = {"skipped": [["ü\udce9.png", "empty"]], "not_pictures": 3}
    return replace(
        Dataset(
            name="ein Name", root=Path("pictures/ü ü"), items=items(count), size=times // 7, mtime=times, report=report
        ),
        **other,
    )


@pytest.mark.parametrize("count", [0, 1, 9])
def test_dataset(tmp_path: Path, count: int) -> None:
    wrote = dataset(count)
    read = read_dataset(write_dataset(tmp_path / "ü ü.h5", wrote, {"source": "ü\n"}))
    assert same(read.items, wrote.items)
    assert (read.name, read.root, read.report) == (wrote.name, wrote.root, wrote.report)
    np.testing.assert_array_equal(read.size, wrote.size)
    np.testing.assert_array_equal(read.mtime, wrote.mtime)
    assert read.header is not None
    assert (read.header.run_key, read.header.provenance) == (wrote.key(), {"source": "ü\n"})


def features(path: Path, count: int, skipped: tuple[int, ...] = (), batch: int = 4) -> tuple[Path, dict[str, Any]]:
    """A store, and what its pictures that were not skipped have."""
    rng, table = np.random.default_rng(1), items(count)
    values = {
        "ret": rng.normal(0, 1e4, (count, 5)).astype(np.float32),
        "tokens": rng.normal(0, 1e3, (count, 3, 5)).astype(np.float32),
        "index": rng.integers(0, 32767, (count, 2)),
    }
    with FeatureWriter(path, "key", {}, table, 5, 3, 2) as store:
        for start in range(0, count, batch):
            rows = np.arange(start, min(start + batch, count))
            good = rows[~np.isin(rows, skipped)]
            reasons = ["kaputt: ü" if r in skipped else "" for r in rows]
            store.write([table.id[r] for r in rows], reasons, **{n: v[good] for n, v in values.items()})
        store.finish(is_shard=len(skipped) == count)
    good = np.setdiff1d(np.arange(count), skipped)
    return path, {"items": table.take(good)} | {n: v[good] for n, v in values.items()}


@pytest.mark.parametrize(("count", "skipped"), [(1, ()), (9, ()), (9, (0, 4, 5, 8)), (4, (0, 1, 2, 3))])
def test_features(tmp_path: Path, count: int, skipped: tuple[int, ...]) -> None:
    path, wrote = features(tmp_path / "a.h5", count, skipped)
    with open_features(path) as store:
        assert same(store.items, wrote["items"])
        np.testing.assert_array_equal(store.read("ret", slice(None)), wrote["ret"])
        np.testing.assert_array_equal(store.read("tokens", slice(None)), wrote["tokens"].astype(np.float16))
        np.testing.assert_array_equal(store.read("index", slice(None)), wrote["index"])
        assert read_skipped(path) == store.skipped == [(items(count).id[r], "kaputt: ü") for r in skipped]


@pytest.mark.parametrize(
    "at",
    [slice(None), slice(2, 5), slice(5, 2), slice(None, None, -1), slice(1, None, 3)]
    + [np.array(rows, np.int64) for rows in ([], [3], [3, 4, 5], [5, 4, 3], [2, 2, 3, 3], [6, 0, 1, 2, -1, 5])],
    ids=str,
)
def test_rows_come_in_the_order_asked_for(tmp_path: Path, at: Any) -> None:
    path, wrote = features(tmp_path / "a.h5", 10, skipped=(0, 4, 5))
    with open_features(path) as store:
        for name in ("ret", "index"):
            np.testing.assert_array_equal(store.read(name, at), wrote[name][at])
        keep = np.array([1, 0, 1, 1, 1, 1, 1], bool)
        part = store.take(keep).take(keep[keep])
        assert same(part.items, wrote["items"].take(np.flatnonzero(keep)))
        np.testing.assert_array_equal(part.read("ret", slice(1, 4)), wrote["ret"][keep][1:4])


@pytest.mark.parametrize(("queries", "photos"), [(1, 1), (3, 9)])
def test_ranking(tmp_path: Path, queries: int, photos: int) -> None:
    rng = np.random.default_rng(2)
    indices = np.argsort(rng.random((queries, photos)), axis=1)
    scores = -np.sort(-rng.random((queries, photos)).astype(np.float32), axis=1)
    indices[0, -1], scores[0, -1] = -1, np.nan
    with RankingWriter(tmp_path / "a.h5", "key", {"by": "ret"}, items(queries), items(photos), photos) as store:
        for row in range(queries):
            store.write(row, indices[row : row + 1], scores[row : row + 1])
        path = store.finish()
    with open_ranking(path) as ranking:
        assert same(ranking.query, items(queries))
        assert same(ranking.gallery, items(photos))
        assert (ranking.depth, ranking.ignore_same, ranking.indices.shape) == (photos, None, (queries, photos))
        np.testing.assert_array_equal(ranking.indices[:], indices)
        np.testing.assert_array_equal(ranking.scores[:], scores)
        np.testing.assert_array_equal(ranking.indices[0], indices[0])


@pytest.mark.parametrize(
    ("name", "value"), [("ret", np.nan), ("ret", -np.inf), ("tokens", np.nan), ("tokens", 65520), ("tokens", -1e6)]
)
def test_values_that_cannot_be_stored_name_their_picture(tmp_path: Path, name: str, value: float) -> None:
    table = items(6)
    with FeatureWriter(tmp_path / "a.h5", "key", {}, table, 5, 3, None) as store:
        store.write(table.id[:2], ["", ""], np.zeros((2, 5)), np.full((2, 3, 5), 65504))
        values = {"ret": np.zeros((3, 5)), "tokens": np.zeros((3, 3, 5))}
        values[name][1, ..., 2] = value  # the third of the batch's pictures, as its first is skipped
        with pytest.raises(ZseError, match=f"{name} are not finite, or too large") as error:
            store.write(table.id[2:], ["broken", "", "", ""], **values)
        assert error.value.message.startswith(table.id[4] + ": ")
        assert store.rows == 2


def test_a_store_without_any_features(tmp_path: Path) -> None:
    """It is refused, and stays unfinished; as a part of more it is a store like any other."""
    table, path = items(2), tmp_path / "a.h5"
    with FeatureWriter(path, "key", {}, table, 5, 0, None) as store:
        store.write(table.id, ["broken", "broken"], np.zeros((0, 5)))
        with pytest.raises(ZseError, match="no picture can be used"):
            store.finish()
    assert partial_path(path).exists() and not path.exists()
    with FeatureWriter(path, "key", {}, table, 5, 0, None) as store:
        assert store.finish(is_shard=True) == path
    assert len(read_skipped(path)) == 2


def test_codes_under_other_names() -> None:
    column = Column.from_values(["b", None, "a", "", "b"])
    assert (column.names, column.codes.tolist()) == (["a", "b"], [1, -1, 0, -1, 1])
    assert column.codes_in(["c", "b"]).tolist() == [1, -1, -1, -1, 1]
    assert column.codes_in([]).tolist() == [-1] * 5


def other_column(name: str) -> dict[str, Any]:
    return {"items": replace(items(9), **{name: Column.from_values(["other"] * 9)})}


def other_row(name: str) -> dict[str, Any]:
    table = items(9)
    values = getattr(table, name).copy()
    values[3] = 1 - values[3].clip(0, 1)
    return {"items": replace(table, **{name: values})}


MATTERS: dict[str, dict[str, Any]] = {
    "name": {"name": "other"},
    "id": {"items": replace(items(9), id=[f"x{i}" for i in range(9)])},
    "fewer": {"items": items(8)},
    **{name: other_column(name) for name in Items.COLUMNS},
    **{name: other_row(name) for name in ("sha256", "modality", "part")},
}


@pytest.mark.parametrize("what", MATTERS)
def test_run_key_changes_with_all_that_matters(what: str) -> None:
    other = dataset(9, **MATTERS[what])
    assert other.key() != dataset(9).key()
    if what != "name":
        pixels = ModelSpec.parse("pixels")
        assert features_key(other.items, pixels) != features_key(items(9), pixels)


def test_run_key_stays_where_nothing_that_matters_changed() -> None:
    """A data set may be moved, copied (with new times) and prepared again: its features remain good."""
    other = dataset(9, root=Path("elsewhere"), mtime=np.zeros(9), size=np.zeros(9), report={})
    assert other.key() == dataset(9).key()


def test_run_key_tells_models_and_weights_apart(tmp_path: Path) -> None:
    def key(text: str) -> str:
        return features_key(items(2), ModelSpec.parse(text))

    for name, data in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(data)
    one, other, copy = (f"frozen:resnet18={tmp_path / name}" for name in "abc")
    keys = {key(text) for text in ("pixels", "hog", "frozen:resnet18", "frozen:resnet50", one, other)}
    assert len(keys) == 6
    assert key(copy) == key(one)


def test_run_key_reads_values_not_order() -> None:
    assert run_key(a=1, b=[1, 2]) == run_key(b=[1, 2], a=1)
    assert len({run_key(a=1), run_key(a="1"), run_key(b=1), run_key(a=[1]), run_key(a=None), run_key()}) == 6
