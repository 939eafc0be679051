"""Protocols and reports: who is asked, what counts, and what the numbers are, against counting by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytrec_eval
from markdown_it import MarkdownIt

from helpers.oracles import ORACLE
from zsecli.data.items import SEEN, UNSEEN, Column, Items
from zsecli.errors import UsageError, ZseError
from zsecli.evaluate import measure, protocols
from zsecli.evaluate.compare import compare_rankings
from zsecli.evaluate.evaluate_ranking import evaluate_ranking
from zsecli.evaluate.measure import measure_queries
from zsecli.evaluate.metrics import required_depth
from zsecli.evaluate.protocols import SPLITS
from zsecli.evaluate.report_model import Evaluation
from zsecli.render import report as reporting
from zsecli.render import trec
from zsecli.render.report import format_markdown
from zsecli.retrieval.order import order_by_score
from zsecli.runtime.console import escape_for_terminal
from zsecli.store.ranking import RankingWriter, open_ranking

pytestmark = pytest.mark.fast

Q, G = 12, 40


def table(kind: int, count: int, rng: np.random.Generator, **columns: Column) -> Items:
    label = Column.from_values([f"class {c}" for c in rng.integers(4, size=count)])
    names = [f"{label.names[c]}/{i}" for c, i in zip(label.codes, rng.integers(5, size=count), strict=True)]
    part = rng.choice([SEEN, UNSEEN], size=count, p=[0.2, 0.8]).astype(np.int8)
    family = Column.from_values([f"f{f}" if f else None for f in rng.integers(3, size=count)])
    values = {"label": label, "instance": Column.from_values(names), "family": family, **columns}
    ids = [f"{kind}/{i} x" for i in range(count)]
    return Items(
        id=ids, modality=np.full(count, kind, np.uint8), part=part, sha256=np.zeros((count, 32), np.uint8), **values
    )


def write(
    path: Path, ignore: str | None = None, depth: int = G, seed: int = 0, by_class: bool = False, **columns: Column
) -> tuple[Path, Items, Items]:
    """A ranking of random scores with ties; `by_class` lists the photos of a class, and of a part of it, together."""
    rng = np.random.default_rng(seed)
    query, gallery = table(0, Q, rng, **columns), table(1, G, rng)
    if by_class:
        gallery = gallery.take(np.lexsort((gallery.part, gallery.label.codes)))
    scores = rng.integers(12, size=(Q, G)).astype(np.float32)
    if ignore:
        ours, theirs = getattr(query, ignore), getattr(gallery, ignore)
        same = (ours.codes_in(theirs.names)[:, None] == theirs.codes) & (ours.codes[:, None] >= 0)
        scores[same] = np.nan
    indices = order_by_score(np.where(np.isnan(scores), -np.inf, scores))
    ranked = np.take_along_axis(scores, indices, 1)
    indices[np.isnan(ranked)] = -1
    with RankingWriter(
        path, f"{seed}{ignore}{depth}", {"ignore_same": ignore, "by": "ret"}, query, gallery, depth
    ) as store:
        store.write(0, indices[:, :depth], ranked[:, :depth])
        return store.finish(), query, gallery


def name(items: Items, column: str, row: int) -> str | None:
    values = getattr(items, column)
    return values.names[values.codes[row]] if values.codes[row] >= 0 else None


def by_hand(path: Path, query: Items, gallery: Items, protocol: Any, ignore: str | None) -> dict[int, list[bool]]:
    """Query row -> relevance of the photos that count, in order; the plainest reading of the protocol."""
    import h5py

    with h5py.File(path, locking=False) as file:
        indices = file["indices"][:]
    out = {}
    for row in range(Q):
        if query.part[row] == SEEN and protocol.queries == "unseen":
            continue
        hits = []
        for photo in indices[row]:
            if photo < 0 or (gallery.part[photo] == SEEN and protocol.gallery == "unseen"):
                continue
            if protocol.within and name(query, "label", row) != name(gallery, "label", photo):
                continue
            assert (
                not ignore
                or name(query, ignore, row) is None
                or name(query, ignore, row) != name(gallery, ignore, photo)
            )
            hits.append(name(query, protocol.relevant, row) == name(gallery, protocol.relevant, photo))
        out[row] = hits
    return out


@pytest.mark.parametrize("at_a_time", [1, 3 * G, 2**20])
@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("ignore", [None, "family"])
@pytest.mark.parametrize("split", list(SPLITS))
def test_protocols_agree_with_counting(
    tmp_path: Path, split: str, ignore: str | None, by_class: bool, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocols, "ENTRIES_AT_ONCE", at_a_time)
    path, query, gallery = write(tmp_path / "ranking.h5", ignore, by_class=by_class)
    report = evaluate_ranking(path, split)
    for part in report.protocols:
        relevance = by_hand(path, query, gallery, part.protocol, ignore)
        asked = {row: hits for row, hits in relevance.items() if any(hits)}
        assert part.queries == [query.id[row] for row in asked]
        assert part.queries_without_relevant == len(relevance) - len(asked)
        assert part.photos_per_query == pytest.approx(np.mean([len(hits) for hits in asked.values()]))
        assert set(part.per_query) == set(part.protocol.metrics)
        for metric, values in part.per_query.items():
            template, k = re.sub(r"@\d+", "@{}", metric), required_depth(metric) or 0
            assert values == pytest.approx([ORACLE[template](hits, k) for hits in asked.values()], abs=1e-12)
        mean = part.mean_values()["mAP (raw)"]
        low, high = part.intervals["AP (raw)"]
        assert low <= mean <= high
        classes = part.class_means()
        assert sum(c["queries"] for c in classes.values()) == len(asked)
        assert sum(c["queries"] * c["mAP (raw)"] for c in classes.values()) / len(asked) == pytest.approx(mean)


def test_ties_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, *_ = write(tmp_path / "ranking.h5", "family")
    import h5py

    with h5py.File(path) as file:
        rows = file["scores"][:].tolist()
    monkeypatch.setattr(measure, "ENTRIES_AT_ONCE", 3 * G)
    report = evaluate_ranking(path, "zs-inter")
    assert report.tied_entries == sum(row.count(x) > 1 for row in rows for x in row)
    assert report.entries == sum(x == x for row in rows for x in row)


def test_short_rankings_keep_what_they_can(tmp_path: Path) -> None:
    """Metrics that need more photos than a ranking keeps are left out by name, the others stay exact."""
    whole = evaluate_ranking(write(tmp_path / "whole.h5")[0], "zs-inter").protocols[0]
    short = evaluate_ranking(write(tmp_path / "short.h5", depth=39)[0], "zs-inter").protocols[0]
    assert set(short.per_query) == {"Acc@1", "Acc@5"}
    assert "AP (raw)" in short.omitted_metrics and "P@100" in short.omitted_metrics
    np.testing.assert_array_equal(short.per_query["Acc@5"], whole.per_query["Acc@5"])
    with pytest.raises(ZseError, match="too few for zs-intra/class"):
        evaluate_ranking(write(tmp_path / "one.h5", depth=1)[0], "zs-intra")


@pytest.mark.parametrize("depth", [1, 5, 30, 39])
@pytest.mark.parametrize("split", list(SPLITS))
def test_a_cut_ranking_gives_what_the_whole_gives(tmp_path: Path, split: str, depth: int) -> None:
    """To the bit, so that a comparison of the two finds no difference; and leaves out what it cannot know."""
    one, query, gallery = write(tmp_path / "cut.h5", "family", depth)
    with open_ranking(one) as short, open_ranking(write(tmp_path / "whole.h5", "family")[0]) as long:
        for protocol in SPLITS[split]:
            cut, whole = (measure_queries(ranking, protocol) for ranking in (short, long))
            assert (
                cut.rows.tolist() == whole.rows.tolist()
                and cut.queries_without_relevant == whole.queries_without_relevant
            )
            relevance = by_hand(one, query, gallery, protocol, "family")
            assert cut.n_listed.tolist() == [len(relevance[row]) for row in cut.rows]
            for metric in protocol.metrics:
                k = required_depth(metric)
                known = cut.n_listed == whole.n_photos if k is None else cut.n_listed >= np.minimum(k, whole.n_photos)
                assert cut.values[metric][known].tolist() == whole.values[metric][known].tolist()


def test_a_cut_that_seen_photos_use_up(tmp_path: Path) -> None:
    """Photos that do not count take places of a cut ranking; fewer than k that count would make @k wrong."""
    report = evaluate_ranking(write(tmp_path / "short.h5", depth=5)[0], "zs-inter")
    assert "Acc@5" not in report.protocols[0].per_query


@pytest.mark.parametrize("split", list(SPLITS))
def test_trec_files(tmp_path: Path, split: str) -> None:
    """Another tool, reading our files, finds our numbers."""
    path, *_ = write(tmp_path / "ranking.h5", "family")
    for part in evaluate_ranking(path, split).protocols:
        run_file, qrels_file = trec.write_trec(path, part.protocol, tmp_path / "trec", overwrite=False)
        with run_file.open() as run, qrels_file.open() as qrels:
            judge = pytrec_eval.RelevanceEvaluator(pytrec_eval.parse_qrel(qrels), {"map", "recip_rank", "success_5"})
            theirs = judge.evaluate(pytrec_eval.parse_run(run))
        means = part.mean_values()
        assert len(theirs) == len(part.queries)
        assert np.mean([v["map"] for v in theirs.values()]) == pytest.approx(means["mAP (raw)"], abs=1e-9)
        assert np.mean([v["success_5"] for v in theirs.values()]) == pytest.approx(
            part.mean_values()["Acc@5"], abs=1e-9
        )


def test_trec_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    protocol, folder = SPLITS["zs-inter"][0], tmp_path / "trec"
    run_file, qrels_file = trec.write_trec(write(tmp_path / "one.h5")[0], protocol, folder, overwrite=False)
    before = run_file.read_bytes()
    other = write(tmp_path / "other.h5", seed=1)[0]
    with pytest.raises(UsageError, match="already holds"):
        trec.write_trec(other, protocol, folder, overwrite=False)
    assert run_file.read_bytes() == before
    assert sorted(folder.iterdir()) == sorted([run_file, qrels_file])
    trec.write_trec(other, protocol, folder, overwrite=True)
    assert run_file.read_bytes() != before


def test_a_report_in_markdown_and_json(tmp_path: Path) -> None:
    report = evaluate_ranking(write(tmp_path / "ranking.h5")[0], "zs-intra")
    text = format_markdown(Evaluation(reports=[report]), per_class=True)
    assert "| mAP (raw) |" in text and "class 0" in text and "95 % interval" in text
    output = tmp_path / "new" / "report.json"
    reporting.write_report(Evaluation(reports=[report]), output, per_class=False, overwrite=False)
    read = json.loads(output.read_text())
    per_query = read["protocols"]["zs-intra/all"]["per_query"]
    mean = read["protocols"]["zs-intra/all"]["mean"]["mean reciprocal rank"]["value"]
    assert np.mean([q["reciprocal rank"] for q in per_query]) == pytest.approx(mean)
    reporting.write_report(
        Evaluation(reports=[report]), output, per_class=False, overwrite=False
    )  # the same again is no harm
    output.write_text("something else")
    with pytest.raises(UsageError, match="already holds"):
        reporting.write_report(Evaluation(reports=[report]), output, per_class=False, overwrite=False)


def test_rankings_that_cannot_be_evaluated(tmp_path: Path) -> None:
    path, *_ = write(tmp_path / "ranking.h5")
    with pytest.raises(UsageError, match="no split 'zs-intr'") as error:
        evaluate_ranking(path, "zs-intr")
    assert "zs-intra" in error.value.hint
    nameless = write(tmp_path / "nameless.h5", label=Column(np.full(Q, -1, np.int32), []))[0]
    with pytest.raises(ZseError, match="have no class"):
        evaluate_ranking(nameless, "zs-inter")
    others = write(tmp_path / "others.h5", label=Column.from_values(["elsewhere"] * Q))[0]
    with pytest.raises(ZseError, match="no query has a relevant photo"):
        evaluate_ranking(others, "zs-inter")


def test_a_report_without_queries_does_not_cost_the_others(tmp_path: Path) -> None:
    """Sketch and photo of an object may bear different classes: then it is found among all photos alone."""
    rng = np.random.default_rng(0)
    query, gallery = table(0, Q, rng), table(1, G, rng)
    query.label, query.part = Column.from_values(["drawn"] * Q), np.full(Q, UNSEEN, np.int8)
    gallery.part = np.full(G, UNSEEN, np.int8)
    query.instance, gallery.instance = (Column.from_values([f"object {i % Q}" for i in range(n)]) for n in (Q, G))
    with RankingWriter(tmp_path / "ranking.h5", "k", {"by": "ret"}, query, gallery, G) as store:
        store.write(0, np.tile(np.arange(G), (Q, 1)), np.zeros((Q, G), np.float32))
        path = store.finish()
    report = evaluate_ranking(path, "zs-intra")
    within, among_all = report.protocols
    assert (within.queries, within.queries_without_relevant, within.per_query) == ([], Q, {})
    assert among_all.mean_values()["Acc@1"] == 1 / Q
    assert report.notes == ["zs-intra/class: no query has a relevant photo, so nothing is measured"]
    found = report.to_dict(with_queries=True)["protocols"]
    assert (found["zs-intra/class"]["queries"], found["zs-intra/class"]["mean"]) == (0, {})
    for per_class in (False, True):
        text = format_markdown(
            Evaluation(reports=[report, report], comparisons=compare_rankings([report, report])), per_class
        )
        assert text.count("zs-intra/all (") == 1 and "zs-intra/class (" not in text
    with pytest.raises(ZseError, match="no query has a relevant photo under zs-inter"):
        evaluate_ranking(path, "zs-inter")


LINKS = (
    "www.example.org", "http://example.org/a|b", "FTP://x", "mailto:a@b", "someone@example.org", "example.org",
    "[a](b)", "![a](b)", "<b>", "<https://x.y>", "&lt;", "*a*", "_a_", "~~a~~", "$a$", "`a`",
    "a`www.x.yz`", ":cat:", "@you", "#12", "a|b", "two\nlines", "carriage\rreturn", "\u2028", "\x85x", "\x0b",
)  # fmt: skip


def shown(markdown_text: str) -> list[list[str]]:
    """The cells of all tables as a reader sees them; fails on any element, and on text that a program might link."""
    rows: list[list[str]] = []
    for token in MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(markdown_text):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows:
            parts = token.children or []
            assert {part.type for part in parts} <= {"text", "code_inline", "text_special"}, token.content
            prose = "".join(part.content if part.type != "code_inline" else " " for part in parts)
            assert not re.search(r"www\.|://|mailto:|\w@\w+\.|[a-z]\.[a-z]|:\w+:|(^| )[@#]", prose, re.IGNORECASE), (
                prose
            )
            rows[-1].append("".join(part.content for part in parts))
    return rows


def test_no_name_means_anything_in_markdown_or_ends_a_line(tmp_path: Path) -> None:
    labels = [LINKS[i % len(LINKS)] for i in range(len(LINKS) * 2)]
    made = table(0, len(labels), np.random.default_rng(0), label=Column.from_values(labels))
    made.part[:] = UNSEEN
    gallery = table(1, len(labels), np.random.default_rng(0), label=Column.from_values(labels))
    gallery.part[:] = UNSEEN
    scores = np.random.default_rng(1).random((len(labels), len(labels))).astype(np.float32)
    indices = order_by_score(scores)
    with RankingWriter(
        tmp_path / "r.h5", "k", {"by": "ret", "model": "www.model.org"}, made, gallery, len(labels)
    ) as store:
        store.write(0, indices, np.take_along_axis(scores, indices, 1))
        path = store.finish()
    evaluation = Evaluation(reports=[evaluate_ranking(path, "zs-inter")])
    text = format_markdown(evaluation, per_class=True)
    assert text.splitlines() == text.removesuffix("\n").split("\n")
    cells = {row[0] for row in shown(text)}
    assert {escape_for_terminal(name) for name in LINKS} <= cells
    written = reporting.format_csv(evaluation)
    assert written.splitlines() == written.removesuffix("\n").split("\n")
    printed = reporting.format_json(evaluation, with_queries=False).removesuffix("\n")
    assert printed.splitlines() == [printed]
    assert {*json.loads(printed)["protocols"]["zs-inter"]["per_class"]} == {*LINKS}
