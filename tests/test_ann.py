"""The approximate shortlist."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import Zse

from zsecli.errors import UsageError
from zsecli.retrieval import ann, match
from zsecli.retrieval.rank import MatchOptions
from zsecli.store.features import FeatureWriter, open_features
from zsecli.store.items import Column, Items
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
        [str(i) for i in range(count)],
        np.repeat(np.array([0, 1], np.uint8), (QUERIES, PHOTOS)),
        np.ones(count, np.int8),
        rng.integers(256, size=(count, 32), dtype=np.uint8),
        family=Column.of([f"f{i % 7}" for i in range(count)]),
    )
    path = tmp_path_factory.mktemp("ann") / "features.h5"
    with FeatureWriter(
        path, "key", {"model": "made up", "preprocess": {}, "weights": ""}, items, WIDTH, 0, None
    ) as store:
        store.write(items.id, [""] * count, ret.astype(np.float32))
        return store.finish()


def rank(store: Path, folder: Path, **options: object) -> tuple[np.ndarray, np.ndarray, float]:
    made = MatchOptions(by="ret", **options)  # type: ignore[arg-type]
    result = match.run(store, store, folder / f"{made.tag}.h5", made)
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
    items.family = Column.of(list(names))
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
    _, _, recall = rank(features, tmp_path, ann=True, shortlist=200)
    assert 0.1 < recall < 0.9


def test_a_gallery_smaller_than_the_shortlist(features: Path, tmp_path: Path) -> None:
    found, _, _ = rank(features, tmp_path, ann=True, shortlist=2 * PHOTOS)
    assert found.shape == (QUERIES, PHOTOS)


def test_what_it_cannot_do(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no other photo"):
        MatchOptions(by="rn", ann=True)
    with pytest.raises(UsageError, match="no other photo"):
        MatchOptions(by="ret", ann=True, shortlist=5, depth=6)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UsageError, match="needs faiss") as error:
        rank(features, tmp_path, ann=True)
    assert "faiss-cpu" in error.value.hint
