"""Every metric against a brute-force oracle, two other libraries and the authors' published code."""

import doctest

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped, unused-ignore]

from helpers.golden import load_golden
from helpers.oracles import ORACLE
from zsecli.evaluate import metrics
from zsecli.evaluate.metrics import RelevantRanks, mean_name, metric_function, required_depth, single_query_metric
from zsecli.retrieval.order import count_tied, order_by_score

CUT_NAMES = [
    "AP@{} (voc, strict)",
    "AP@{} (strict)",
    "AP@{} (lenient)",
    "AP@{} (trec)",
    "P@{}",
    "P@{} (capped)",
    "Acc@{}",
]
NAMES = ["AP (raw)", "AP (voc)", "reciprocal rank", *CUT_NAMES]

# few distinct scores: most rankings have ties, zeros of both signs and infinities
SCORE = st.sampled_from([-np.inf, -1.5, -0.0, 0.0, 0.25, 0.5, np.inf])
QUERY = st.lists(st.tuples(SCORE, st.booleans()), max_size=40).filter(lambda q: any(rel for _, rel in q))
ROWS = [st.lists(SCORE, min_size=length, max_size=length) for length in range(13)]
SCORES = st.sampled_from(ROWS).flatmap(lambda row: st.lists(row, min_size=1, max_size=4))
CUT = st.integers(1, 50)
Query = list[tuple[float, bool]]
examples = settings(derandomize=True, max_examples=100, deadline=None)


def relevance(query: Query) -> list[bool]:
    """Relevance in ranking order, by Python's sort."""
    return [query[i][1] for i in sorted(range(len(query)), key=lambda i: (-query[i][0], i))]


def ranks_of(scores: NDArray[np.floating], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """1-based ranks of the relevant photos of one query, by the code under test."""
    return np.flatnonzero(relevant[order_by_score(scores[None])[0]]) + 1


def query_ranks(query: Query) -> NDArray[np.int64]:
    scores, relevant = zip(*query, strict=True)
    return ranks_of(np.array(scores, dtype=np.float32), np.array(relevant))


@pytest.mark.parametrize("name", NAMES)
@examples
@given(query=QUERY, k=CUT)
def test_agrees_with_brute_force(name: str, query: Query, k: int) -> None:
    ranks, rel = query_ranks(query), relevance(query)
    value = single_query_metric(name.format(k))(ranks, len(ranks))
    assert type(value) is float
    assert value == pytest.approx(ORACLE[name](rel, k), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
@examples
@given(queries=st.lists(QUERY, min_size=1, max_size=5), k=CUT)
def test_queries_together_are_each_alone(name: str, queries: list[Query], k: int) -> None:
    ranks = [query_ranks(query) for query in queries]
    together = metric_function(name.format(k))(RelevantRanks(ranks, [len(r) for r in ranks]))
    assert together.dtype == np.float64
    assert together == pytest.approx([ORACLE[name](relevance(query), k) for query in queries], abs=1e-12)


@pytest.mark.parametrize("name", CUT_NAMES)
@examples
@given(query=QUERY, k=CUT, deeper=st.integers(0, 10))
def test_a_truncated_ranking_is_exact_down_to_its_depth(name: str, query: Query, k: int, deeper: int) -> None:
    ranks, function = query_ranks(query), single_query_metric(name.format(k))
    assert function(ranks[ranks <= k + deeper], len(ranks)) == function(ranks, len(ranks))


@examples
@given(query=QUERY, k=CUT)
def test_order_among_the_metrics(query: Query, k: int) -> None:
    ranks = query_ranks(query)
    r = len(ranks)
    value = {name: single_query_metric(name.format(k))(ranks, r) for name in NAMES}
    tolerance = 1e-12
    assert all(0 <= v <= 1 for v in value.values())
    assert value["AP@{} (trec)"] <= value["AP@{} (strict)"] <= value["AP@{} (lenient)"] + tolerance
    assert value["AP@{} (strict)"] <= value["AP@{} (voc, strict)"] + tolerance
    assert value["AP (raw)"] <= value["AP (voc)"] + tolerance
    assert value["P@{}"] <= value["Acc@{}"]
    if r >= k:
        assert value["AP@{} (voc, strict)"] <= value["P@{}"] + tolerance
        assert value["P@{}"] == value["P@{} (capped)"]
    if k >= len(query):
        assert {value[f"AP@{{}} ({v})"] for v in ("strict", "lenient", "trec")} == {value["AP (raw)"]}
        assert value["AP@{} (voc, strict)"] == value["AP (voc)"]


@pytest.mark.parametrize("name", NAMES)
def test_perfect_and_empty_rankings(name: str) -> None:
    perfect = 0.4 if name == "AP@{} (trec)" else 1.0
    assert single_query_metric(name.format(2))(np.arange(1, 6), 5) == perfect
    assert (
        single_query_metric(name.format(2))(np.array([], dtype=np.int64), 5) == 0.0
    )  # none within a truncated ranking
    with pytest.raises(ValueError, match="0 relevant"):
        single_query_metric(name.format(2))(np.array([], dtype=np.int64), 0)
    with pytest.raises(ValueError, match="1 relevant"):
        single_query_metric(name.format(2))(np.array([1, 2]), 1)


def random_query(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Scores without ties (both libraries break them otherwise) of 400 photos, 1 to about 300 relevant."""
    rng = np.random.default_rng(seed)
    relevant = rng.random(400) < (0.005, 0.1, 0.7)[seed % 3]
    relevant[seed] = True
    return (rng.random(400) + 0.4 * relevant).argsort().argsort().astype(np.float32), relevant


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_scikit_learn(seed: int) -> None:
    scores, relevant = random_query(seed)
    ranks = ranks_of(scores, relevant)
    ours = single_query_metric("AP (raw)")(ranks, len(ranks))
    assert ours == pytest.approx(average_precision_score(relevant, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_trec_eval(seed: int) -> None:
    scores, relevant = random_query(seed)
    ranks = ranks_of(scores, relevant)
    ids = [f"photo{i:03}" for i in range(len(scores))]
    cuts = "5,100,200,1000"
    evaluator = pytrec_eval.RelevanceEvaluator(
        {"q": dict(zip(ids, relevant.astype(int).tolist(), strict=True))},
        {"map", "recip_rank", f"map_cut.{cuts}", f"P.{cuts}", f"success.{cuts}"},
    )
    theirs = evaluator.evaluate({"q": dict(zip(ids, scores.tolist(), strict=True))})["q"]
    names = {"map": "AP (raw)", "recip_rank": "reciprocal rank"}
    for k in cuts.split(","):
        names |= {f"map_cut_{k}": f"AP@{k} (trec)", f"P_{k}": f"P@{k}", f"success_{k}": f"Acc@{k}"}
    ours = {key: single_query_metric(name)(ranks, len(ranks)) for key, name in names.items()}
    assert ours == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("size", ["small", "wide"])
def test_agrees_with_the_authors_code(size: str) -> None:
    with load_golden() as golden:
        distance, query_labels, photo_labels, official = (
            golden[f"metric_{size}_{array}"] for array in ("dist", "qlabel", "plabel", "official")
        )
    ranks = [ranks_of(-row, photo_labels == label) for row, label in zip(distance, query_labels, strict=True)]
    names = ["AP (voc)", "AP@200 (voc, strict)", "P@100 (capped)", "P@200 (capped)"]
    ours = [np.mean([single_query_metric(name)(r, len(r)) for r in ranks]) for name in names]
    assert ours == pytest.approx(official, abs=1e-9)


def test_metric_names() -> None:
    assert [required_depth(name.format(200)) for name in NAMES] == [None] * 3 + [200] * 7
    assert {name: mean_name(name.format(200)) for name in NAMES} == {
        "AP (raw)": "mAP (raw)",
        "AP (voc)": "mAP (voc)",
        "reciprocal rank": "mean reciprocal rank",
        "AP@{} (voc, strict)": "mAP@200 (voc, strict)",
        "AP@{} (strict)": "mAP@200 (strict)",
        "AP@{} (lenient)": "mAP@200 (lenient)",
        "AP@{} (trec)": "mAP@200 (trec)",
        "P@{}": "P@200",
        "P@{} (capped)": "P@200 (capped)",
        "Acc@{}": "Acc@200",
    }


@pytest.mark.parametrize(
    "name",
    ["", "AP", "mAP (raw)", "AP@200", "AP@K (strict)", "P@0", "P@05", "P@-1", "P@5 ", "P@5@5", "P@5.5"],
)
def test_unknown_names_are_refused_with_the_names(name: str) -> None:
    for function in (single_query_metric, required_depth, mean_name):
        with pytest.raises(ValueError, match=r"no metric .*AP \(raw\).*P@K \(capped\).*reciprocal rank"):
            function(name)


@examples
@given(scores=SCORES)
def test_order_and_ties(scores: list[list[float]]) -> None:
    array = np.array(scores, dtype=np.float32)
    best = order_by_score(array)
    assert best.dtype == np.int64
    assert best.tolist() == [[i for _, i in sorted((-score, i) for i, score in enumerate(row))] for row in scores]
    ranked = np.pad(np.take_along_axis(array, best, axis=1), ((0, 0), (0, 2)), constant_values=np.nan)
    assert count_tied(ranked) == sum(row.count(score) > 1 for row in scores for score in row)


@examples
@given(scores=st.lists(st.floats(allow_nan=False, width=32), max_size=30))
def test_order_is_the_stable_sort(scores: list[float]) -> None:
    array = np.array([scores, scores[::-1]], dtype=np.float32)
    np.testing.assert_array_equal(order_by_score(array), np.argsort(-array, axis=1, kind="stable"))


def test_order_is_stable_in_a_long_row_and_compares_in_float32() -> None:
    scores = np.random.default_rng(0).integers(0, 5, size=(2, 20_000)).astype(np.float32)
    np.testing.assert_array_equal(order_by_score(scores), [np.lexsort((np.arange(20_000), -row)) for row in scores])
    assert order_by_score(np.array([[1.0, 1.0 + 1e-12]])).tolist() == [[0, 1]]


def test_order_refuses_nan() -> None:
    with pytest.raises(ValueError, match="NaN"):
        order_by_score(np.array([[0.1, np.nan]], dtype=np.float32))


def test_doctests() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted
    assert not result.failed
