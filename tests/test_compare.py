"""Several models side by side: the paired test, what stands beside, and the published figures."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import trees
from conftest import Zse

from zsecli.data.splits import PUBLISHED
from zsecli.evaluate.bootstrap import paired
from zsecli.evaluate.metrics import mean_name
from zsecli.evaluate.protocols import INTER_METRICS
from zsecli.evaluate.published import published


def test_the_paired_test_is_the_plain_loop() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(40), rng.random(40)
    draw = np.random.default_rng(3)
    means = [(b - a)[draw.integers(40, size=40)].mean() for _ in range(200)]
    found = paired(a, b, resamples=200, seed=3)
    assert found.difference == pytest.approx((b - a).mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])))
    below, above = sum(m <= 0 for m in means), sum(m >= 0 for m in means)
    assert found.p == pytest.approx(min(1, 2 * (min(below, above) + 1) / 201))


def test_what_the_paired_test_finds() -> None:
    rng = np.random.default_rng(0)
    a = rng.random(300)
    assert paired(a, a + 0.05 + 0.1 * rng.standard_normal(300)).p < 0.001
    noise = [paired(a, a + 0.1 * np.random.default_rng(i).standard_normal(300), resamples=500).p for i in range(40)]
    assert np.mean(np.array(noise) < 0.05) < 0.2
    with pytest.raises(ValueError, match="for every query"):
        paired(a, a[:-1])


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
def test_what_a_cut_ranking_lacks_is_named(zse: Zse) -> None:
    cut = zse("match", "--depth", "4").ok()
    assert "a ranking is too short for AP (raw), AP (voc)" in zse("evaluate", "--against", cut).ok()
    ranking = zse("match").ok()
    zse("evaluate", "--against", ranking).refused(2, "is a ranking that is there already")
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
    zse("evaluate", "--data", "pictures", "--against", ranking).refused(1, "queries are in one alone")


def test_published_figures_have_names_of_ours() -> None:
    names = {mean_name(name) for name in INTER_METRICS}
    for key, counts in PUBLISHED.items():
        found = published("-".join(key))
        assert found is not None
        assert found.counts == counts
        assert any(f.method.startswith("ZSE") for f in found.figures)
        assert all(0 < f.value < 1 and (f.metric in names) == f.stated for f in found.figures)
    assert published("shoe-") is None


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
