"""Several models side by side: the paired test, what stands beside, and the published figures."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from helpers import trees
from helpers.commands import Zse
from zsecli.data.splits import PUBLISHED
from zsecli.evaluate.metrics import mean_name
from zsecli.evaluate.protocols import INTER_METRICS
from zsecli.evaluate.published import find_published


@pytest.mark.usefixtures("ready")
def test_models_side_by_side(zse: Zse) -> None:
    report = json.loads(zse("evaluate", "--against", "hog", "--json").ok())
    alone = json.loads(zse("evaluate", "--model", "hog", "--json").ok())
    assert report["against"] == [alone]
    first = next(c for c in report["comparisons"] if c["metric"] == "mAP (raw)")
    values = [r["protocols"]["zs-inter"]["mean"]["mAP (raw)"]["value"] for r in (report, alone)]
    assert first["means"] == values
    assert first["against_first"][0]["difference"] == pytest.approx(values[1] - values[0])
    said = zse("evaluate", "--against", "hog", "--per-class").ok()
    assert "| metric | pixels ret | hog ret | difference | 95 % interval | p |" in said
    bird = [r["protocols"]["zs-inter"]["per_class"]["animal-bird"]["mAP (raw)"] for r in (report, alone)]
    assert f"| animal-bird | 6 | {bird[0]:.4f} | {bird[1]:.4f} |" in said
    ranking = zse("match", "--center").ok()
    rows = list(csv.DictReader(io.StringIO(zse("evaluate", "--against", ranking, "--csv").ok())))
    assert {(r["model"], r["center"]) for r in rows} == {("pixels", "False"), ("pixels", "True")}
    assert [r["mean"] for r in rows if (r["metric"], r["center"]) == ("mAP (raw)", "False")] == [str(values[0])]
    assert {r["p"] == "" for r in rows if r["center"] == "False"} == {True}
    assert all(0 < float(r["p"]) <= 1 for r in rows if r["center"] == "True")
    assert {(r["cluster"], r["clusters"]) for r in rows} == {("class", "3")}
    assert {r["interval_kind"] for r in rows} == {report["interval_kind"]}


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(("split", "cluster", "count"), [("zs-inter", "class", 3), ("zs-intra", "object", 6)])
def test_reports_name_the_clusters_of_intervals_and_tests(zse: Zse, split: str, cluster: str, count: int) -> None:
    """Three classes cannot show a difference at 5 % at all, whatever their queries say."""
    words = ("evaluate", "--split", split, "--against", "hog")
    report = json.loads(zse(*words, "--json").ok())
    for found in (report, report["against"][0]):
        for protocol in found["protocols"].values():
            assert (protocol["cluster"], protocol["clusters"]) == (cluster, count)
    assert {(c["cluster"], c["clusters"]) for c in report["comparisons"]} == {(cluster, count)}
    every = [c["against_first"][0] for c in report["comparisons"]]
    assert all(test["p"] >= 2 / 2**count and test["p_holm"] == test["p"] for test in every)
    assert all(test["low"] < test["high"] for test in every)
    assert "sign-flip" in report["test"]["kind"]
    plural = {"class": "classes", "object": "objects"}[cluster]
    said = zse(*words).ok()
    assert f"95 % intervals over {count} {plural}: " in said and "p by sign-flip" in said
    alone = zse("evaluate", "--split", split).ok()
    assert f"95 % intervals over {count} {plural}: " in alone


@pytest.mark.usefixtures("ready")
def test_several_models_are_corrected_for_their_number(zse: Zse) -> None:
    centred = zse("match", "--center").ok()
    report = json.loads(zse("evaluate", "--split", "zs-intra", "--against", "hog", "--against", centred, "--json").ok())
    for compared in report["comparisons"]:
        raw, corrected = ([test[key] for test in compared["against_first"]] for key in ("p", "p_holm"))
        low, high = sorted(raw)
        expected = {low: min(1, 2 * low), high: max(min(1, 2 * low), high)}
        assert corrected == pytest.approx([expected[p] for p in raw])
    assert "p (Holm)" in zse("evaluate", "--against", "hog", "--against", centred).ok()


def test_one_class_has_no_interval(zse: Zse, tmp_path: Path, pictures: Path) -> None:
    for modality in ("sketch", "photo"):
        shutil.copytree(pictures / modality / "drink", tmp_path / "one" / modality / "drink")
    zse("prepare", "folder", "one").ok()
    report = json.loads(zse("evaluate", "--against", "hog", "--json").ok())
    assert report["protocols"]["zs-inter"]["clusters"] == 1
    assert all(mean["interval"] is None for mean in report["protocols"]["zs-inter"]["mean"].values())
    assert {(t["low"], t["high"], t["p"]) for c in report["comparisons"] for t in c["against_first"]} == {
        (None, None, 1)
    }
    assert "no interval, as one class alone does not show how much they differ" in zse("evaluate").ok()
    rows = list(csv.DictReader(io.StringIO(zse("evaluate", "--csv").ok())))
    assert {(row["low"], row["high"]) for row in rows} == {("", "")}
    own = json.loads(zse("evaluate", "--split", "zs-intra", "--json").ok())["protocols"]["zs-intra/all"]
    assert own["clusters"] == 2 and own["mean"]["Acc@1"]["interval"] is not None


@pytest.mark.usefixtures("ready")
def test_files_of_every_format(zse: Zse, tmp_path: Path) -> None:
    words = ("evaluate", "--against", "hog")
    for suffix, option in ((".md", "--per-class"), (".csv", "--csv"), (".json", "--json")):
        printed = zse(*words, option, "-o", tmp_path / f"report{suffix}").ok()
        text = (tmp_path / f"report{suffix}").read_text("utf-8")
        if suffix != ".json":
            assert text == printed + "\n"
            continue
        whole, brief = json.loads(text), json.loads(printed)
        for one in (whole, whole["against"][0]):
            assert len(one["protocols"]["zs-inter"].pop("per_query")) == 18
        assert whole == brief
    zse("evaluate", "-o", "report.txt").refused(2, "its name says no format", ".json, .csv, .md")
    zse(*words, "--json", "--csv").refused(2, "both say how to print")


@pytest.mark.usefixtures("ready")
def test_galleries_of_other_sizes_are_refused(zse: Zse) -> None:
    ranking = zse("match", "--ignore-same", "family").ok()
    zse("evaluate", "--against", ranking).ok()  # a tree has no families: nothing is left out
    ranking = zse("match", "--ignore-same", "instance").ok()
    zse("evaluate", "--against", ranking).refused(1, "their photos or classes differ (24.0 and 20.0 photos a query")


def test_other_classes_of_the_same_pictures_are_refused(tmp_path: Path, zse: Zse, pictures: Path) -> None:
    lines = ["path,modality,class,other"]
    for file in sorted(pictures.rglob("*.*")):
        modality, label = file.relative_to(pictures).parts[:2]
        shutil.copy(file, tmp_path / f"{modality}-{file.name}")
        lines.append(f"{modality}-{file.name},{modality},{label},{'lock' if label == 'drink' else label}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    zse("prepare", "folder", "list.csv", "--name", "one").ok()
    zse("prepare", "folder", "list.csv", "--column", "class=other", "--name", "two").ok()
    ranking = zse("match", "--data", "two").ok()
    zse("evaluate", "--data", "one", "--against", ranking).refused(1, "their photos or classes differ")


@pytest.mark.usefixtures("ready")
def test_a_truncated_ranking_names_the_metrics_it_lacks(zse: Zse) -> None:
    cut = zse("match", "--depth", "4").ok()
    assert "a ranking is too short for AP (raw), AP (voc)" in zse("evaluate", "--against", cut).ok()
    ranking = zse("match").ok()
    zse("evaluate", "--against", ranking).refused(2, "this ranking is already included")
    zse("evaluate", ranking, "--against", "gone.h5").refused(3, "gone.h5: no such store")
    zse("evaluate", "gone.h5", "--dry-run").refused(3, "gone.h5: no such store")


def test_a_gallery_that_cannot_be_missed(zse: Zse, tmp_path: Path) -> None:
    trees.qmul(tmp_path / "s")
    zse("prepare", "shoe", "s")
    assert "every photo is relevant, so any ranking is perfect" in zse("evaluate").out
    said = zse("evaluate", "--split", "zs-intra").out
    assert "own photo, within the class" in said
    assert "any ranking is perfect" not in said


@pytest.mark.usefixtures("ready")
def test_a_dry_run_names_every_ranking(zse: Zse, tmp_path: Path) -> None:
    done = zse("evaluate", "--against", "hog", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert "to embed" in done.err
    assert "pixels.ret.h5, zse/rankings/" in done.err
    trees.tuberlin(tmp_path / "datasets" / "TUBerlin")
    for command in ("evaluate", "embed", "match"):
        done = zse(command, "--data", "tuberlin", "--dry-run")
        assert (done.code, done.out) == (0, "")
        assert "to prepare tuberlin from datasets/TUBerlin" in done.err
    assert not (tmp_path / "zse" / "datasets" / "tuberlin.h5").exists()


@pytest.mark.usefixtures("ready")
def test_other_queries_are_refused(zse: Zse, tmp_path: Path) -> None:
    trees.tuberlin(tmp_path / "t")
    zse("prepare", "tuberlin", "t")
    ranking = zse("match", "--data", "tuberlin").ok()
    zse("evaluate", "--data", "pictures", "--against", ranking).refused(1, "queries are in only one of them")


def test_published_figures_have_names_of_ours() -> None:
    names = {mean_name(name) for name in INTER_METRICS}
    for key, counts in PUBLISHED.items():
        found = find_published("-".join(key))
        assert found is not None
        assert found.counts == counts
        assert any(f.method.startswith("ZSE") for f in found.figures)
        assert all(0 < f.value < 1 and (f.metric in names) == f.stated for f in found.figures)
        for f in found.figures:  # each says where it stands, or that this is not known
            known = f.paper and f.venue and f.year and f.table
            assert known or "not established" in f.source
            assert bool(f.table) == f.method.startswith("ZSE")
    assert find_published("shoe-") is None


def test_published_figures_beside(tmp_path: Path, zse: Zse) -> None:
    trees.tuberlin(tmp_path / "t")
    zse("prepare", "tuberlin", "t")
    zse("embed")  # the features that evaluate finds do not depend on who had them made
    said = zse("evaluate", "--compare").out
    here = json.loads(zse("evaluate", "--json").out)["protocols"]["zs-inter"]["mean"]["mAP (voc)"]["value"]
    assert f"| ZSE-SBIR (RN) | mAP (voc) | 0.542 | {here:.3f} |" in said
    assert "| SpLIP (CLIP ViT-B/32) | mAP@all (formula not stated) | 0.731 |  |" in said
    assert "published on tuberlin-30: 2400 queries, 27989 photos; NOT those of this evaluation" in said
    rows = list(csv.DictReader(io.StringIO(zse("evaluate", "--compare", "--csv").out)))
    assert "Explainable Style (arXiv 2303.14348), CVPR 2023, Table 1 |" in said
    assert "ECCV 2024, table not established |" in said and "paper not established |" in said
    assert {"Table 1" in row["source"] for row in rows if row["model"].startswith("ZSE")} == {True}
    assert ("ZSE-SBIR (RN)", "mAP (voc)", "0.542") in [(r["model"], r["metric"], r["mean"]) for r in rows]
    assert json.loads(zse("evaluate", "--compare", "--json").out)["published"]["name"] == "tuberlin-30"
    assert "no published figures" in zse("evaluate", "--compare", "--split", "generalized").err
    refused = zse("evaluate", "--split", "zs-intra").err
    assert "have no instance" in refused and "--split zs-inter" in refused


def test_a_ranking_knows_its_benchmark(tmp_path: Path, zse: Zse, pictures: Path) -> None:
    trees.tuberlin(tmp_path / "t")
    zse("prepare", "tuberlin", "t")
    ranking = zse("match").out.strip()
    zse("prepare", "folder", pictures).ok()  # the newest, and no benchmark
    assert "| ZSE-SBIR (Ret) | mAP (voc) | 0.569 |" in zse("evaluate", ranking, "--compare").ok()
    assert "no published figures" in zse("evaluate", "--compare").err
