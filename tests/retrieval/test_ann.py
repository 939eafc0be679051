"""The approximate shortlist."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from helpers.commands import Zse
from zsecli.data.items import Column, Items
from zsecli.errors import UsageError
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rank import rank_features
from zsecli.retrieval.rankers import ann
from zsecli.runtime.log_levels import NOTICE
from zsecli.store.features import FeatureWriter, open_features
from zsecli.store.ranking import open_ranking

pytest.importorskip("faiss", reason="the extra ann is not installed")
QUERIES, PHOTOS, WIDTH = 12, 5000, 32


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sketches and photos that lie in twenty heaps, with a family each."""
    rng = np.random.default_rng(0)
    count = QUERIES + PHOTOS
    heaps = rng.integers(20, size=count)
    ret = rng.standard_normal((20, WIDTH))[heaps] + 0.5 * rng.standard_normal((count, WIDTH))
    items = Items(
        id=[str(i) for i in range(count)],
        modality=np.repeat(np.array([0, 1], np.uint8), (QUERIES, PHOTOS)),
        part=np.ones(count, np.int8),
        sha256=rng.integers(256, size=(count, 32), dtype=np.uint8),
        family=Column.from_values([f"f{i % 7}" for i in range(count)]),
    )
    path = tmp_path_factory.mktemp("ann") / "features.h5"
    with FeatureWriter(
        path, "key", {"model": "made up", "preprocess": {}, "weights": ""}, items, WIDTH, 0, None
    ) as store:
        store.write(items.id, [""] * count, ret.astype(np.float32))
        return store.finish()


def store_of(path: Path, ret: np.ndarray, families: list[str] | None = None) -> Path:
    """A feature store of QUERIES sketches and photos with these [Ret], all of different files."""
    count = len(ret)
    items = Items(
        id=[str(i) for i in range(count)],
        modality=np.repeat(np.array([0, 1], np.uint8), (QUERIES, count - QUERIES)),
        part=np.ones(count, np.int8),
        sha256=np.random.default_rng(1).integers(256, size=(count, 32), dtype=np.uint8),
        family=Column.from_values(families if families is not None else [None] * count),
    )
    about = {"model": "made up", "preprocess": {}, "weights": ""}
    with FeatureWriter(path, str(path), about, items, ret.shape[1], 0, None) as store:
        store.write(items.id, [""] * count, ret.astype(np.float32))
        return store.finish()


def rank(store: Path, folder: Path, **options: object) -> tuple[np.ndarray, np.ndarray, float]:
    made = MatchOptions(by="ret", **options)  # type: ignore[arg-type]
    result = rank_features(store, store, folder / f"{made.tag}.h5", made)
    with open_ranking(result.path) as ranking:
        return ranking.indices[:], ranking.scores[:], ranking.header.provenance.get("recall", 1.0)


@pytest.mark.parametrize("options", [{}, {"ignore_same": "family"}, {"center": True}])
def test_it_finds_most_of_the_exact_shortlist(
    features: Path, tmp_path: Path, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ann, "READ", 999)  # several blocks
    exact, scores, _ = rank(features, tmp_path, **options)
    found, near, recall = rank(features, tmp_path, ann=True, shortlist=50, **options)
    assert found.shape == (QUERIES, 50)
    share = np.mean([np.isin(true, some).mean() for true, some in zip(exact[:, :50], found, strict=True)])
    assert share > 0.95
    assert abs(recall - share) < (0.05 if options else 1e-9)
    for row in range(QUERIES):  # what it finds is scored and ordered as in the exact ranking
        place = {photo: at for at, photo in enumerate(exact[row])}
        at = [place[photo] for photo in found[row]]
        assert at == sorted(at)
        np.testing.assert_allclose(near[row], scores[row, at], atol=1e-6)


def test_a_large_group_that_does_not_count(features: Path, tmp_path: Path) -> None:
    """The photos nearest to a sketch are all of its family: others fill the shortlist."""
    with open_features(features) as opened:
        items, ret = opened.items, opened.read("ret", slice(None))
    near = np.argsort(-(ret[QUERIES:] @ ret[0]))[:2000]
    names = np.array(["far"] * len(ret), object)
    names[[0, *(QUERIES + near)]] = "near"
    items.family = Column.from_values(list(names))
    path = tmp_path / "grouped.h5"
    with FeatureWriter(
        path, "grouped", {"model": "x", "preprocess": {}, "weights": ""}, items, WIDTH, 0, None
    ) as store:
        store.write(items.id, [""] * len(ret), ret)
        store.finish()
    exact, _, _ = rank(path, tmp_path, ignore_same="family")
    found, _, recall = rank(path, tmp_path, ann=True, shortlist=50, ignore_same="family")
    share = np.mean([np.isin(true, some).mean() for true, some in zip(exact[:, :50], found, strict=True)])
    assert abs(recall - share) < 1e-9
    assert (found[0] >= 0).all()


def test_the_commands_say_that_it_is_approximate(prepared: Path, ready: Path, zse: Zse, tmp_path: Path) -> None:
    (store,) = ready.glob("features/*.h5")
    ranking = zse("match", store, "--by", "ret", "--ann", "--shortlist", 20, "-o", "r.h5").ok()
    with open_ranking(tmp_path / ranking) as opened:
        assert opened.depth == 20 and opened.header.provenance["ann"]
    report = json.loads(zse("evaluate", ranking, "--split", "zs-intra", "--json").ok())
    assert report["ann"] and report["recall"] > 0.9
    assert any("approximate" in note for note in report["notes"])


def test_few_lists_miss_photos_and_say_so(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ann, "PROBES", 1)
    found, _, recall = rank(features, tmp_path, ann=True, shortlist=20)
    assert 0.1 < recall < 0.9 and (found >= 0).all()


def test_a_gallery_smaller_than_the_shortlist(features: Path, tmp_path: Path) -> None:
    found, _, _ = rank(features, tmp_path, ann=True, shortlist=2 * PHOTOS)
    assert found.shape == (QUERIES, PHOTOS)


def of_copies(rng: np.random.Generator) -> np.ndarray:
    return np.tile(rng.standard_normal((1, WIDTH)), (PHOTOS, 1))


def of_many_copies_and_others(rng: np.random.Generator) -> np.ndarray:
    every = rng.standard_normal((PHOTOS, WIDTH))
    every[rng.random(PHOTOS) < 0.8] = every[0]
    return every


def of_zeros(rng: np.random.Generator) -> np.ndarray:
    return np.zeros((PHOTOS, WIDTH))


def of_zeros_and_others(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((PHOTOS, WIDTH)) * (rng.random((PHOTOS, 1)) < 0.1)


def of_pairs(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.standard_normal((PHOTOS // 2, WIDTH)), 2, 0)


def of_near_copies(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((1, WIDTH)) + 1e-4 * rng.standard_normal((PHOTOS, WIDTH))


GALLERIES = [of_copies, of_many_copies_and_others, of_zeros, of_zeros_and_others, of_pairs, of_near_copies]


@pytest.mark.parametrize("ignore", [None, "family"])
@pytest.mark.parametrize("gallery", GALLERIES, ids=lambda made: made.__name__)
def test_every_shortlist_is_full(
    tmp_path: Path, gallery: Callable[[np.random.Generator], np.ndarray], ignore: str | None
) -> None:
    """Of copies the first ones, as in an exact ranking."""
    rng = np.random.default_rng(3)
    ret = np.concatenate([rng.standard_normal((QUERIES, WIDTH)), gallery(rng)])
    families = [f"f{i}" for i in rng.integers(3, size=len(ret))]
    store = store_of(tmp_path / "features.h5", ret, families)
    exact, scores, _ = rank(store, tmp_path, ignore_same=ignore)
    found, near, recall = rank(store, tmp_path, ann=True, shortlist=100, ignore_same=ignore)
    assert (found >= 0).all() and np.isfinite(near).all()
    assert all(len(set(row)) == 100 for row in found.tolist())
    if ignore:
        assert all(families[q] != families[QUERIES + photo] for q in range(QUERIES) for photo in found[q])
    if gallery in (of_copies, of_zeros):
        np.testing.assert_array_equal(found, exact[:, :100])
        assert recall == 1
    if gallery is not of_near_copies:  # of which rounded vectors tell no order
        assert recall > 0.9
    np.testing.assert_allclose(near[:, 0], scores[:, 0], atol=1e-3)


def test_photos_that_the_index_does_not_reach_are_searched_for_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(NOTICE)
    monkeypatch.setattr(ann, "PROBES", 1)  # of 51 lists, which hold about 40 photos each
    rng = np.random.default_rng(5)
    ret = rng.standard_normal((QUERIES + 2000, WIDTH))
    store = store_of(tmp_path / "features.h5", ret, [f"f{i % 4}" for i in range(len(ret))])
    for ignore in (None, "family"):
        exact, scores, _ = rank(store, tmp_path, ignore_same=ignore)
        found, near, recall = rank(store, tmp_path, ann=True, shortlist=500, ignore_same=ignore)
        np.testing.assert_array_equal(found, exact[:, :500])
        np.testing.assert_allclose(near, scores[:, :500], atol=1e-6)
        said = "the approximate index found fewer photos than the shortlist has for 12 sketches, so these were searched"
        assert recall == 1 and said in caplog.text


@pytest.mark.fast
@pytest.mark.parametrize("photos", [1, 2, 38, 39, 78, 79])
def test_a_gallery_of_few_photos(tmp_path: Path, photos: int) -> None:
    ret = np.random.default_rng(7).standard_normal((QUERIES + photos, WIDTH))
    store = store_of(tmp_path / "features.h5", ret)
    exact, _, _ = rank(store, tmp_path)
    found, _, recall = rank(store, tmp_path, ann=True, shortlist=100)
    np.testing.assert_array_equal(found, exact)
    assert recall == 1


def test_ann_rejects_rn_and_deep_rankings(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no other photo"):
        MatchOptions(by="rn", ann=True)
    with pytest.raises(UsageError, match="no other photo"):
        MatchOptions(by="ret", ann=True, shortlist=5, depth=6)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match="needs faiss") as error:
        rank(features, tmp_path, ann=True)
    assert "faiss-cpu" in error.value.hint
