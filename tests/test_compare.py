"""Several models side by side: the paired test, what stands beside, and the published figures."""

from __future__ import annotations

import csv
import io
import json
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
    said = zse("evaluate", "--against", "hog").ok()
    assert "| metric | pixels ret | hog ret | difference | 95 % interval | p |" in said
    ranking = zse("match", "--center").ok()
    rows = list(csv.DictReader(io.StringIO(zse("evaluate", "--against", ranking, "--csv").ok())))
    assert {(r["model"], r["center"]) for r in rows} == {("pixels", "False"), ("pixels", "True")}
    assert [r["mean"] for r in rows if (r["metric"], r["center"]) == ("mAP (raw)", "False")] == [str(values[0])]


@pytest.mark.usefixtures("ready")
def test_other_queries_are_refused(zse: Zse, tmp_path: Path) -> None:
    trees.tuberlin(tmp_path / "t")
    zse("prepare", "tuberlin", "t")
    ranking = zse("match", "--data", "tuberlin").ok()
    zse("evaluate", "--data", "pictures", "--against", ranking).refused(1, "queries are in one alone")


def test_published_figures_have_names_of_ours() -> None:
    names = {mean_name(name) for name in INTER_METRICS}
    for benchmark, partition in PUBLISHED:
        figures = published(benchmark, partition)
        assert any(f.method.startswith("ZSE") for f in figures)
        assert all(0 < f.value < 1 and (f.metric in names) == f.stated for f in figures)
    assert published("shoe", "") == []


def test_published_figures_beside(tmp_path: Path, zse: Zse) -> None:
    trees.tuberlin(tmp_path / "t")
    zse("prepare", "tuberlin", "t")
    said = zse("evaluate", "--compare").out
    assert "| ZSE-SBIR (RN) | mAP (voc) | 0.542 |" in said
    assert "| SpLIP (CLIP ViT-B/32) | mAP@all (formula not stated) | 0.731 |" in said
    assert "no published figures" in zse("evaluate", "--compare", "--split", "zs-cross", "--train-data", "tuberlin").err
