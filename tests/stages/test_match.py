"""Ranking: by [Ret], by relation score and by cascade, through the stage's own door."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from helpers.tiny import SELECTING, build
from zsecli.data.items import Column, Items
from zsecli.errors import StoreError, UsageError, ZseError
from zsecli.model import checkpoint
from zsecli.model.network import ZSENetwork
from zsecli.model.scoring import Scoring
from zsecli.model.spec import ModelSpec
from zsecli.retrieval import compatible_stores
from zsecli.retrieval import rank as ranking
from zsecli.retrieval import relation_scores as relation
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rankers.cosine import CosineRanker
from zsecli.store.features import FeatureWriter
from zsecli.store.ranking import open_ranking

QUERIES, PHOTOS, WIDTH = 7, 23, 32


def items(kind: int, count: int, seed: int) -> Items:
    rng = np.random.default_rng(seed)
    return Items(
        id=[f"{kind}/{i}" for i in range(count)],
        modality=np.full(count, kind, np.uint8),
        part=np.ones(count, np.int8),
        sha256=np.zeros((count, 32), np.uint8),
        label=Column.from_values([f"c{c}" for c in rng.integers(3, size=count)]),
        family=Column.from_values([f"f{c}" if c else None for c in rng.integers(4, size=count)]),
    )


def write(path: Path, table: Items, model: ModelSpec | None, ret: np.ndarray, values: np.ndarray | None = None) -> Path:
    """A feature store of these pictures, with random tokens where a network made it."""
    provenance = {
        "source": "pictures",
        "model": model.text if model else "pixels",
        "weights": model.weights_hash() if model else "",
        "relation": model is not None,
        "preprocess": {},
    }
    tokens, kept = (10, 9) if model else (0, None)
    with FeatureWriter(path, f"{path}", provenance, table, ret.shape[1], tokens, kept) as store:
        rng = np.random.default_rng(len(table))
        if values is None and model:
            values = rng.standard_normal((len(table), 10, WIDTH)).astype(np.float32)
        places = np.sort(rng.permutation(16)[:9])
        index = np.tile(places, (len(table), 1)) if model else None
        store.write(table.id, [""] * len(table), ret, values, index)
        return store.finish()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    return ModelSpec.parse(str(checkpoint.save(build(SELECTING), path)))


@pytest.fixture
def stores(tmp_path: Path, network: ModelSpec) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    ret = [rng.standard_normal((n, WIDTH)).astype(np.float32) for n in (QUERIES, PHOTOS)]
    return (
        write(tmp_path / "sketches.h5", items(0, QUERIES, 1), network, ret[0]),
        write(tmp_path / "photos.h5", items(1, PHOTOS, 2), network, ret[1]),
    )


def rank(stores: tuple[Path, Path], **options: object) -> tuple[np.ndarray, np.ndarray]:
    output = stores[0].with_name("-".join(["ranking", *(f"{k}{v}" for k, v in options.items())]) + ".h5")
    result = ranking.rank_features(*stores, output, MatchOptions(**options), device="cpu")  # type: ignore[arg-type]
    with open_ranking(result.path) as opened:
        return opened.indices[:], opened.scores[:]


def read_ret(stores: tuple[Path, Path]) -> list[np.ndarray]:
    import h5py

    return [h5py.File(path)["ret"][:].astype(np.float64) for path in stores]


@pytest.mark.fast
@pytest.mark.parametrize("center", [False, True])
def test_by_ret_is_the_cosine(stores: tuple[Path, Path], center: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = read_ret(stores)
    if center:
        vectors = [x - x.mean(0) for x in vectors]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in vectors]
    monkeypatch.setattr(compatible_stores, "MIN_TO_CENTRE", 5)
    indices, scores = rank(stores, by="ret", center=center)
    expected = unit[0] @ unit[1].T
    np.testing.assert_array_equal(indices, np.argsort(-expected, axis=1))
    np.testing.assert_allclose(scores, np.take_along_axis(expected, indices.astype(int), 1), atol=1e-6)


def test_relation_scores_are_the_networks(stores: tuple[Path, Path], network: ModelSpec) -> None:
    """Blocked scoring gives what the network says of each pair alone."""
    indices, scores = rank(stores, by="rn")
    assert network.file is not None
    model: ZSENetwork = checkpoint.load(network.file)[0]
    import h5py

    with h5py.File(stores[0]) as s, h5py.File(stores[1]) as p, torch.inference_mode():
        for row, column in [(0, 0), (6, 22), (3, 11)]:
            one = [
                model.prepare(
                    torch.from_numpy(f["tokens"][i : i + 1]).float(),
                    torch.from_numpy(f["index"][i : i + 1]).long(),
                    role,
                )
                for f, i, role in ((s, row, "sketch"), (p, column, "photo"))
            ]
            expected = model.score_prepared(*one).relation.item()
            assert scores[row][indices[row] == column].item() == pytest.approx(expected, abs=1e-6)
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.fast
@pytest.mark.parametrize("shortlist", [PHOTOS, PHOTOS + 5])
@pytest.mark.parametrize("ignore", [None, "family"])
def test_cascade_over_everything_is_rn(stores: tuple[Path, Path], shortlist: int, ignore: str | None) -> None:
    exact = rank(stores, by="rn", ignore_same=ignore)
    cascade = rank(stores, by="cascade", shortlist=shortlist, ignore_same=ignore)
    np.testing.assert_array_equal(exact[0], cascade[0])
    np.testing.assert_array_equal(exact[1], cascade[1])


def test_cascade_reranks_its_shortlist_only(stores: tuple[Path, Path]) -> None:
    """The first K are the K best by [Ret], in the order of their relation scores; the rest stand as by [Ret]."""
    by_ret, cosine = rank(stores, by="ret")
    by_rn, relation_scores = rank(stores, by="rn")
    indices, scores = rank(stores, by="cascade", shortlist=5)
    for row in range(QUERIES):
        best = set(by_ret[row, :5])
        assert list(indices[row, :5]) == [i for i in by_rn[row] if i in best]
        assert list(indices[row, 5:]) == list(by_ret[row, 5:])
        np.testing.assert_array_equal(scores[row, :5], relation_scores[row][np.isin(by_rn[row], list(best))])
        np.testing.assert_allclose(scores[row, 5:], cosine[row, 5:] - 2, atol=1e-6)


def test_each_picture_is_prepared_once(stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Q, K and V are computed once a picture, however many pairs there are."""
    prepared: dict[str, int] = {"sketch": 0, "photo": 0}
    original = Scoring.prepare

    def count(self: Scoring, tokens: torch.Tensor, index: torch.Tensor, role: str, *own_ret: object) -> object:
        prepared[role] += len(tokens)
        return original(self, tokens, index, role, *own_ret)  # type: ignore[arg-type]

    monkeypatch.setattr(Scoring, "prepare", count)
    monkeypatch.setattr(relation, "PICTURES_AT_ONCE", 4)
    rank(stores, by="rn")
    assert prepared == {"sketch": QUERIES, "photo": PHOTOS}
    # photos once for every block of sketches, which a large gallery makes necessary: 2, 2, 2, 1
    monkeypatch.setattr(ranking, "queries_per_block", lambda *_: 2)
    rank(stores, by="rn", depth=PHOTOS - 1)
    assert prepared == {"sketch": 2 * QUERIES, "photo": PHOTOS + 4 * PHOTOS}


@pytest.mark.parametrize("by", ["ret", "rn", "cascade"])
def test_blocks_do_not_matter(stores: tuple[Path, Path], by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rank(stores, by=by, shortlist=6)
    monkeypatch.setattr(ranking, "queries_per_block", lambda *_: 3)
    monkeypatch.setattr(relation, "PICTURES_AT_ONCE", 5)
    monkeypatch.setattr(relation, "PAIRS_ON_CPU", 3)
    blocked = rank(stores, by=by, shortlist=6, depth=PHOTOS)  # another name, the same ranking
    np.testing.assert_array_equal(whole[0], blocked[0])
    np.testing.assert_allclose(whole[1], blocked[1], atol=1e-6)


def test_ineligible_pairs_are_left_out_of_rankings(stores: tuple[Path, Path]) -> None:
    """Pairs of one family are nowhere in the ranking; pictures without a family are never left out."""
    query, gallery = items(0, QUERIES, 1), items(1, PHOTOS, 2)
    indices, scores = rank(stores, by="ret", ignore_same="family")
    full, _ = rank(stores, by="ret")
    names = [[c.names[i] if i >= 0 else None for i in c.codes] for c in (query.family, gallery.family)]
    for row in range(QUERIES):
        expected = [i for i in full[row] if names[0][row] is None or names[0][row] != names[1][i]]
        assert list(indices[row][indices[row] >= 0]) == expected
        assert np.isnan(scores[row, len(expected) :]).all()
        assert (indices[row, len(expected) :] == -1).all()


@pytest.mark.parametrize("by", ["ret", "rn", "cascade"])
def test_copies_tie_and_go_to_the_lower_index(tmp_path: Path, network: ModelSpec, by: str) -> None:
    """One photo listed twice has one score, whatever rounding makes of its place in a block."""
    rng = np.random.default_rng(4)
    count = 150
    ret = rng.standard_normal((count, WIDTH)).astype(np.float32)
    tokens = rng.standard_normal((count, 10, WIDTH)).astype(np.float32)
    twice = items(1, 2 * count, 2)
    photos = write(tmp_path / "photos.h5", twice, network, np.tile(ret, (2, 1)), values=np.tile(tokens, (2, 1, 1)))
    sketches = write(tmp_path / "sketches.h5", items(0, 3, 1), network, ret[:3])
    indices, scores = rank((sketches, photos), by=by, shortlist=2 * count)
    for row in range(3):
        place = np.argsort(indices[row])
        assert (place[count:] > place[:count]).all()  # the copy stands behind
        np.testing.assert_array_equal(scores[row][place[:count]], scores[row][place[count:]])


@pytest.mark.parametrize("files", ["all different", "all the same"])
def test_a_gallery_is_in_memory_once(tmp_path: Path, files: str) -> None:
    """What finds its copies takes little beside it."""
    rng = np.random.default_rng(0)
    count, width = 4000, 1024
    table = items(1, count, 2)
    if files == "all different":
        table.sha256[:] = rng.integers(256, size=(count, 32))
    photos = write(tmp_path / "photos.h5", table, None, rng.standard_normal((count, width)).astype(np.float32))
    sketches = write(tmp_path / "sketches.h5", items(0, 2, 1), None, rng.standard_normal((2, width)).astype(np.float32))
    tracemalloc.start()
    try:
        rank((sketches, photos), by="ret", depth=10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * count * width * 4


@pytest.mark.parametrize("by", ["ret", "rn", "cascade"])
def test_a_copy_in_another_family_does_not_bring_a_pair_back(tmp_path: Path, network: ModelSpec, by: str) -> None:
    """Of two copies, the one that the sketch's family leaves out stays out."""
    rng = np.random.default_rng(6)
    photos, sketches = items(1, 40, 2), items(0, 3, 1)
    photos.family = Column.from_values([f"f{i // 20}" for i in range(40)])
    sketches.family = Column.from_values(["f0", "f1", None])
    ret = np.tile(rng.standard_normal((20, WIDTH)).astype(np.float32), (2, 1))
    tokens = np.tile(rng.standard_normal((20, 10, WIDTH)).astype(np.float32), (2, 1, 1))
    stores = (
        write(tmp_path / "sketches.h5", sketches, network, ret[:3]),
        write(tmp_path / "photos.h5", photos, network, ret, values=tokens),
    )
    indices, scores = rank(stores, by=by, ignore_same="family", shortlist=30)
    for row, left in enumerate((range(20, 40), range(20), range(40))):
        assert sorted(indices[row][indices[row] >= 0]) == list(left)
        assert np.isfinite(scores[row]).sum() == len(left)


@pytest.mark.parametrize("by", ["ret", "rn", "cascade"])
def test_a_query_without_eligible_photos(tmp_path: Path, network: ModelSpec, by: str) -> None:
    photos, sketches = items(1, 5, 2), items(0, 3, 1)
    photos.family, sketches.family = (Column.from_values(["f"] * n) for n in (5, 3))
    ret = np.ones((5, WIDTH), np.float32)
    stores = tuple(
        write(tmp_path / f"{name}.h5", table, network, ret[: len(table)])
        for name, table in (("sketches", sketches), ("photos", photos))
    )
    indices, scores = rank(stores, by=by, ignore_same="family")  # type: ignore[arg-type]
    assert (indices == -1).all() and np.isnan(scores).all()


def test_memory_for_few_pairs_only(stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a GPU's memory does not hold a block of pairs, smaller ones give the same scores."""
    whole, original = rank(stores, by="rn"), Scoring.score_prepared

    def narrow(self: Scoring, *pair: Any) -> object:
        if len(pair[0].tokens) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, *pair)

    monkeypatch.setattr(Scoring, "score_prepared", narrow)
    np.testing.assert_allclose(whole[1], rank(stores, by="rn", depth=PHOTOS)[1], atol=1e-6)


@pytest.mark.parametrize("by", ["ret", "rn"])
def test_the_number_of_threads_does_not_matter(
    stores: tuple[Path, Path], by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = rank(stores, by=by)
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    monkeypatch.setattr(ranking, "queries_per_block", lambda *_: 2)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        four = rank(stores, by=by, depth=PHOTOS)
        assert torch.get_num_threads() == 4  # given back
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(one[0], four[0])
    np.testing.assert_allclose(one[1], four[1], atol=1e-6)


def test_the_rest_of_a_cascade_keeps_its_order(tmp_path: Path, network: ModelSpec) -> None:
    """Cosines closer than the shift below the shortlist can tell apart stay in their order."""
    rng = np.random.default_rng(5)
    ret = (rng.standard_normal((1, WIDTH)) + 1e-6 * rng.standard_normal((200, WIDTH))).astype(np.float32)
    photos = write(tmp_path / "photos.h5", items(1, 200, 2), network, ret)
    query = rng.standard_normal((1, WIDTH)).astype(np.float32)
    sketches = write(tmp_path / "sketches.h5", items(0, 1, 1), network, query)
    by_ret, _ = rank((sketches, photos), by="ret")
    cascade, scores = rank((sketches, photos), by="cascade", shortlist=3)
    np.testing.assert_array_equal(by_ret[0, 3:], cascade[0, 3:])
    assert len(set(scores[0, 3:])) < 190  # they are stored as equal


def test_depth_limits_the_ranking(stores: tuple[Path, Path]) -> None:
    full, cut = rank(stores, by="ret"), rank(stores, by="ret", depth=4)
    np.testing.assert_array_equal(full[0][:, :4], cut[0])


def test_a_finished_ranking_is_up_to_date(stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run computes nothing; a shortlist is no reason to rank by [Ret] again, the depth is."""
    output, options = stores[0].with_name("r.h5"), MatchOptions(by="ret")
    assert ranking.rank_features(*stores, output, options).fresh
    monkeypatch.setattr(CosineRanker, "__init__", None)
    assert not ranking.rank_features(*stores, output, options).fresh
    assert not ranking.rank_features(*stores, output, MatchOptions(by="ret", shortlist=7)).fresh
    with pytest.raises(UsageError, match="already holds"):
        ranking.rank_features(*stores, output, MatchOptions(by="ret", depth=2), overwrite=False)


@pytest.mark.fast
def test_resumes_where_it_stopped(stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rank(stores, by="ret")
    monkeypatch.setattr(ranking, "queries_per_block", lambda *_: 2)
    ranked: list[int] = []
    original = CosineRanker.rank

    def stop_at_4(self: object, block: slice, advance: object) -> object:
        stops = block.start == 4 and 4 not in ranked
        ranked.append(block.start)
        if stops:
            raise KeyboardInterrupt
        return original(self, block, advance)  # type: ignore[arg-type]

    monkeypatch.setattr(CosineRanker, "rank", stop_at_4)
    with pytest.raises(KeyboardInterrupt):
        rank(stores, by="ret", shortlist=9)
    ranked.clear()
    ranked.append(4)
    again = rank(stores, by="ret", shortlist=9)
    assert sorted(ranked[1:]) == [4, 6]  # the committed blocks are not ranked again
    np.testing.assert_array_equal(whole[0], again[0])


def test_a_ranking_that_the_disk_has_no_room_for(stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before hours of work, not after."""
    need = QUERIES * PHOTOS * 8
    monkeypatch.setattr(ranking.shutil, "disk_usage", lambda _: SimpleNamespace(free=need - 1))
    with pytest.raises(ZseError, match="GB are free"):
        rank(stores, by="ret")
    assert not list(stores[0].parent.glob("*.partial"))
    rank(stores, by="ret", depth=PHOTOS - 1)


def test_stores_that_cannot_be_matched(stores: tuple[Path, Path], tmp_path: Path, network: ModelSpec) -> None:
    ret = np.ones((PHOTOS, WIDTH), np.float32)
    plain = write(tmp_path / "plain.h5", items(1, PHOTOS, 2), None, ret)
    for pair, options, says in [
        ((stores[0], plain), {"by": "ret"}, "different models"),
        ((stores[1], stores[1]), {"by": "ret"}, "holds no sketch"),
        ((stores[0], stores[0]), {"by": "ret"}, "holds no photo"),
    ]:
        with pytest.raises(StoreError, match=says):
            rank(pair, **options)
    sketches = write(tmp_path / "plain-sketches.h5", items(0, 2, 1), None, ret[:2])
    with pytest.raises(StoreError, match="no relation network") as error:
        rank((sketches, plain), by="rn")
    assert "--by ret" in error.value.hint
    with pytest.raises(UsageError, match="--center"):
        rank((sketches, plain), by="ret", center=True)
    with pytest.raises(UsageError, match="no such column"):
        MatchOptions(ignore_same="familly")
    with pytest.raises(UsageError, match="no effect on relation scores"):
        MatchOptions(by="rn", center=True)
    ret[3, 4] = 1e30
    huge = write(tmp_path / "huge.h5", items(1, PHOTOS, 2), None, ret)
    with pytest.raises(StoreError, match="too large"):
        rank((sketches, huge), by="ret")


def test_skipped_pictures_are_reported(
    stores: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A store given for its photos that holds sketches too: perhaps photos that were taken for sketches."""
    both = items(1, PHOTOS, 2)
    both.modality[:4] = 0
    mixed = write(tmp_path / "mixed.h5", both, None, np.ones((PHOTOS, WIDTH), np.float32))
    sketches = write(tmp_path / "plain.h5", items(0, 2, 1), None, np.ones((2, WIDTH), np.float32))
    rank((sketches, mixed), by="ret")
    assert "4 of its 23 pictures are no photos" in caplog.text


def test_another_model_than_the_stores(stores: tuple[Path, Path], tmp_path: Path) -> None:
    other = ModelSpec.parse(str(checkpoint.save(build(SELECTING, seed=1), tmp_path / "other.safetensors")))
    for by in ("ret", "rn"):
        with pytest.raises(StoreError, match="is not the model"):
            ranking.rank_features(*stores, tmp_path / "r.h5", MatchOptions(by=by), model=other, device="cpu")  # type: ignore[arg-type]


def test_a_score_that_is_no_number(stores: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Scoring.score_prepared

    def broken(self: Scoring, *pair: object) -> object:
        score = original(self, *pair)  # type: ignore[arg-type]
        score.logit[0] = torch.nan
        return score

    monkeypatch.setattr(Scoring, "score_prepared", broken)
    with pytest.raises(ZseError, match=r"0/0 and 1/0"):
        rank(stores, by="rn")
