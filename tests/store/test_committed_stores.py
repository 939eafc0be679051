"""The committed stores of every schema version read as ever, and the newest would be written so today."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.stores import dump_store
from zsecli.data.items import Items
from zsecli.store.dataset import read_dataset
from zsecli.store.features import open_features, read_skipped
from zsecli.store.ranking import open_ranking

ROOT = Path(__file__).parents[2]
STORES = ROOT / "fixtures" / "stores"
VERSIONS = ("v1", "v1.1", "v1.2", "v1.3")
NEWEST = STORES / VERSIONS[-1]
NAMES = ("dataset.h5", "features.h5", "features-ret.h5", "ranking.h5")
PHOTOS = ["p/cat/a.jpg", "p/cat/b\nb.jpg", "p/Käse/猫.jpg", "p/none.jpg"]
SKETCHES = ["s/cat/a-1.png", "s/cat/b b.png", "s/Käse/'q' \"q\".png"]


def check_items(items: Items, rows: list[int]) -> None:
    """The pictures `rows` of the seven that every fixture is made from."""
    assert items.id == [(SKETCHES + PHOTOS)[r] for r in rows]
    labels = ["cat", "cat", "Käse", "cat", "cat", "Käse", None]
    instances = ["cat/a", None, None, "cat/a", "cat/b b", "Käse/猫", None]
    families = ["one", "two", None, "one", "two", None, None]
    for column, values in ((items.label, labels), (items.instance, instances), (items.family, families)):
        assert [column.names[c] if c >= 0 else None for c in column.codes] == [values[r] for r in rows]
    assert items.label.names == ["Käse", "cat"]
    assert items.modality.tolist() == [int(r > 2) for r in rows]
    assert items.part.tolist() == [[0, 0, 1, 0, 0, 1, -1][r] for r in rows]
    assert items.sha256.tolist() == [list(range(r * 32, r * 32 + 32)) for r in rows]


@pytest.mark.parametrize("version", VERSIONS)
def test_dataset(version: str) -> None:
    dataset = read_dataset(STORES / version / "dataset.h5")
    check_items(dataset.items, list(range(7)))
    assert (dataset.name, dataset.root) == ("example", Path("pictures"))
    assert dataset.size.tolist() == list(range(100, 107))
    assert dataset.mtime.tolist() == [10**18 + i for i in range(7)]
    assert dataset.report == {"skipped": [["p/cat/broken.jpg", "empty"]], "not_pictures": 1, "repeated_files": 0}
    assert dataset.header is not None
    assert dataset.header.provenance["source"] == "pictures"
    # the run key is computed as it was: what was prepared by an older version is still up to date
    assert dataset.header.run_key == dataset.key()
    if version == "v1":
        assert (dataset.partition, dataset.partitions, dataset.flags, dataset.known()) == ("", {}, {}, {})
    else:
        assert dataset.parts("25").tolist() == dataset.parts().tolist() == dataset.items.part.tolist()
        assert dataset.parts("21").tolist() == [1, -1, 0, 1, -1, 0, -1]
        assert {name: np.flatnonzero(marks).tolist() for name, marks in dataset.flags.items()} == {
            "blank": [4],
            "pose": [0, 2, 4, 6],
        }


@pytest.mark.parametrize("version", VERSIONS)
def test_features_with_tokens_and_a_skipped_picture(version: str) -> None:
    with open_features(STORES / version / "features.h5") as features:
        check_items(features.items, [0, 1, 3, 4, 5, 6])
        assert features.rows.tolist() == [0, 1, 3, 4, 5, 6]
        assert (features.has_tokens, features.width) == (True, 4)
        ret, tokens, index = (features.read(n, slice(None)) for n in ("ret", "tokens", "index"))
        signs = np.array([1, 1, -1, -1, -1, -1])[:, None]
        values = signs * (np.array([0, 1, 0, 1, 2, 3])[:, None] + np.arange(12) / 16)
        assert (ret.dtype, tokens.dtype, index.dtype) == (np.float32, np.float16, np.int16)
        np.testing.assert_array_equal(ret, values[:, :4])
        np.testing.assert_array_equal(tokens, values.reshape(6, 3, 4))
        assert index.tolist() == [[0, 5], [3, 195]] + [[1, 2]] * 4
        # a skipped picture's row holds what no picture has
        assert np.isnan(features.file["ret"][2]).all()
        assert np.isnan(features.file["tokens"][2]).all()
        assert features.file["index"][2].tolist() == [-1, -1]
    assert read_skipped(STORES / version / "features.h5") == [(SKETCHES[2], "the file is empty")]


@pytest.mark.parametrize("version", VERSIONS)
def test_features_without_tokens(version: str) -> None:
    with open_features(STORES / version / "features-ret.h5") as features:
        check_items(features.items, list(range(7)))
        assert (features.has_tokens, features.skipped) == (False, [])
        expected = np.arange(7)[:, None] + np.arange(4) / 16
        np.testing.assert_array_equal(features.read("ret", slice(None)), expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_ranking_with_pairs_left_out(version: str) -> None:
    with open_ranking(STORES / version / "ranking.h5") as ranking:
        check_items(ranking.query, [0, 1, 2])
        check_items(ranking.gallery, [3, 4, 5, 6])
        assert (ranking.depth, ranking.ignore_same) == (4, "family")
        assert ranking.indices[:].tolist() == [[2, 1, 3, -1], [0, 3, 2, -1], [3, 2, 1, 0]]
        nan = np.nan
        expected = [[0.5, 0.25, -1, nan], [1, 0, 0, nan], [0.75, 0.5, 0.5, -0.5]]
        np.testing.assert_array_equal(ranking.scores[:], np.array(expected, np.float32))


@pytest.mark.parametrize("name", NAMES)
def test_the_format_has_not_drifted(tmp_path: Path, name: str) -> None:
    """A change of what is written shows here; one that old readers cannot follow needs another major version."""
    runpy.run_path(str(ROOT / "fixtures" / "make_stores.py"))["make"](tmp_path)
    assert dump_store(tmp_path / name) == dump_store(NEWEST / name)
    assert (NEWEST / name).stat().st_size < 100_000


def test_the_example_of_the_specification_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "stores.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(NEWEST)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["names"].tolist() == SKETCHES[:2] + PHOTOS
    assert found["ret"].shape == (6, 4)


@pytest.mark.parametrize("name", NAMES)
def test_the_specification_names_all_that_is_written(name: str) -> None:
    specification = (ROOT / "docs" / "stores.md").read_text("utf-8")
    said = dump_store(NEWEST / name)
    words = {"created-by", *said["/"], *(_named(n.removesuffix("()")) for n in said if n != "/")}
    assert [word for word in sorted(words) if f"`{word}`" not in specification] == []


def _named(path: str) -> str:
    """The last part of a dataset's path, as the specification names it; what is in two groups has names of its own."""
    top, _, name = path.rpartition("/")
    group = next((g for g in (top, path) if g in ("partitions", "flags")), None)
    return f"{group}/NAME" if group else name
