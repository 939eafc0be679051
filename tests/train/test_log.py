"""What a run leaves behind: a log that survives a kill, and a figure of it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from zsecli.render.training_curve import draw_curve
from zsecli.train.log import Log

SVG = "{http://www.w3.org/2000/svg}"


def step(at: int, **changes: float) -> dict[str, Any]:
    return {"kind": "train", "step": at, "loss": 4 - at / 500, "ret": 3.0, "match": 1 - at / 1000, **changes}


def check(at: int, **metrics: float) -> dict[str, Any]:
    return {"kind": "validation", "step": at, "epoch": at // 100, **metrics}


# --- the log ---------------------------------------------------------------------------------------------------------


def test_a_log_gives_back_what_was_added(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert log.read_records() == []
    records = [step(10), check(10, score=0.5), {"kind": "ä", "step": 11}]
    for i, record in enumerate(records):
        log.append(record)
        assert Log(tmp_path).read_records() == records[: i + 1]


@pytest.mark.parametrize("cut", ['{"kind": "train", "st', "\0\0\0", "4", "\udce4"])
def test_a_killed_run_goes_on(tmp_path: Path, cut: str) -> None:
    log = Log(tmp_path / "new")
    log.truncate(0)
    for at in (10, 20, 30):
        log.append(step(at))
    with log.path.open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(cut)
    assert [record["step"] for record in log.read_records()] == [10, 20, 30]
    log.truncate(20)
    log.append(check(20, score=0.5))
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [10, 20, 20]
    assert [file.name for file in log.path.parent.iterdir()] == ["log.jsonl"]


# --- the figure ------------------------------------------------------------------------------------------------------


def drawn(records: list[dict[str, Any]], path: Path) -> tuple[list[list[tuple[float, float]]], list[str]]:
    """The points of every polyline, and every text."""
    draw_curve(records, path)
    root = ElementTree.parse(path).getroot()
    lines = [node.attrib["points"].split() for node in root.iter(f"{SVG}polyline")]
    points = [[tuple(map(float, point.split(","))) for point in line] for line in lines]
    return points, [node.text or "" for node in root.iter(f"{SVG}text")]  # type: ignore[return-value]


def test_names_and_the_best_are_written(tmp_path: Path) -> None:
    scores = {100: 0.2, 200: 0.6, 300: 0.4}
    records = [step(at) for at in range(10, 301, 10)]
    records += [
        check(at, **{"mAP <raw> & more": score / 2, "Acc@1": 0.7, "score": score}) for at, score in scores.items()
    ]
    path = tmp_path / "a & b.run" / "curve.svg"
    path.parent.mkdir()
    _, texts = drawn(records, path)
    for text in ("a & b", "total, weighted", "[Ret]", "match", "mAP <raw> & more", "Acc@1", "step", "loss"):
        assert text in texts
    assert "Validation: best at epoch 2 (step 200), score 0.6000" in texts
    assert "0.3000 at the best, 0.2000 last" in texts


def test_coordinates_follow_the_values(tmp_path: Path) -> None:
    records = [step(at) for at in range(10, 1001, 10)]
    records += [check(at, rises=at / 1000, score=1 - at / 1000) for at in range(100, 1001, 100)]
    lines, _ = drawn(records, tmp_path / "c.svg")
    loss, _, ret, _, match, _, rises, score = lines
    assert [len(line) for line in (loss, ret, match, rises)] == [100, 100, 100, 10]
    for line, falls in ((loss, True), (match, True), (rises, False), (score, True)):
        assert line == sorted(line)
        heights = [y for _, y in line]
        assert heights == sorted(set(heights), reverse=not falls)  # y grows downwards
    assert len({y for _, y in ret}) == 1
    assert {x for x, _ in rises} <= {x for x, _ in loss}, "both panels have one scale of steps"
    # 3 in one scale is where the total is 3: at step 500
    assert dict(loss)[min(loss, key=lambda p: abs(p[1] - ret[0][1]))[0]] == pytest.approx(ret[0][1], abs=0.01)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_leaves_a_gap(tmp_path: Path, value: float) -> None:
    records = [step(at, **({"ret": value} if at == 50 else {})) for at in range(10, 101, 10)]
    records += [check(at, score=value if at == 20 else 0.5) for at in (10, 20, 30)]
    lines, texts = drawn(records, tmp_path / "c.svg")
    assert [len(line) for line in lines] == [
        10,
        10,
        4,
        5,
        4,
        5,
        10,
        10,
        2,
        2,
    ]  # raw and smooth; a lone point is drawn twice
    assert all(math.isfinite(number) for line in lines for point in line for number in point)
    assert "Validation: best at epoch 0 (step 10), score 0.5000" in texts


def test_noise_is_smoothed(tmp_path: Path) -> None:
    lines, _ = drawn([step(at, loss=2 + (-1) ** at) for at in range(1, 401)], tmp_path / "c.svg")
    raw, smooth = ([y for _, y in line] for line in lines[:2])
    assert max(smooth) - min(smooth) < 0.15 * (max(raw) - min(raw))


@pytest.mark.parametrize(
    ("records", "empty", "dots"),
    [
        ([], 2, 0),
        ([step(0)], 1, 6),
        ([step(7)], 1, 6),
        ([check(10, score=0.0)], 1, 1),
        ([step(9, loss=-2.0), check(9)], 1, 6),
    ],
    ids=["none", "step 0", "one", "a validation", "below 0"],
)
def test_a_short_run_has_a_figure(tmp_path: Path, records: list[dict[str, Any]], empty: int, dots: int) -> None:
    lines, texts = drawn(records, tmp_path / "c.svg")
    assert texts.count("nothing yet") == empty
    assert [len(line) for line in lines] == [2] * dots  # a lone point is drawn twice


def test_a_long_run_is_thinned_out(tmp_path: Path) -> None:
    lines, _ = drawn([step(at, loss=float(at % 7)) for at in range(1, 100_001)], tmp_path / "c.svg")
    assert all(900 <= len(line) <= 1100 for line in lines)
    assert lines[0][-1][0] == pytest.approx(max(x for line in lines for x, _ in line))
